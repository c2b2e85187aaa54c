"""A run folder, whichever stage filled it: the policy in it and what is known of it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from d2ppo_core.config import PretrainConfig, config_hash, to_mapping
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune import checkpoint as finetuned
from d2ppo_core.models.build import build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.schedule import tuned_below
from d2ppo_core.pretrain import checkpoint as pretrained

WEIGHTS = ("ema", "raw", "best")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run left."""

    origin: pretrained.Checkpoint
    """The pre-training, which every policy goes back to: data, normaliser, shapes, networks."""
    finetune: finetuned.FinetuneCheckpoint | None
    """The fine-tuning, if there was one."""

    @property
    def config(self) -> PretrainConfig:
        """Of the pre-training."""
        return self.origin.config

    @property
    def name(self) -> str:
        """Of the newest stage."""
        return self.config.name if self.finetune is None else self.finetune.config.name

    @property
    def available_weights(self) -> tuple[str, ...]:
        """Names of the weights that this run holds."""
        evaluated = self.finetune is not None and bool(self.finetune.best)
        return WEIGHTS if evaluated else tuple(name for name in WEIGHTS if name != "best")

    @property
    def preferred_weights(self) -> str:
        """The best evaluated ones, or the averaged ones where there was no evaluation."""
        return "best" if "best" in self.available_weights else "ema"

    def policy(self, weights: str = "ema", *, num_denoising_steps: int | None = None) -> ChunkPolicy:
        """The policy, frozen, with the deterministic sampler.

        Args:
            weights: `ema` averaged, `raw` latest, `best` the averaged ones of the best evaluation (fine-tuning).
            num_denoising_steps: K; None takes the configured one.

        Raises:
            ConfigError: the run has no such weights, or K does not divide the training steps.
        """
        config = self.config
        if num_denoising_steps is not None:
            config = replace(config, model=replace(config.model, num_denoising_steps=num_denoising_steps))
        policy = build_policy(config, self.origin.shapes)
        policy.load_state_dict(self._weights(weights), strict=True)
        if self.finetune is not None and isinstance(policy, DiffusionPolicy):
            chain = self.finetune.config.chain
            if chain.finetuned_steps < chain.num_denoising_steps:
                base = copy.deepcopy(policy)
                base.load_state_dict(self.origin.ema, strict=True)
                below = tuned_below(policy.num_train_steps, chain.num_denoising_steps, chain.finetuned_steps)
                policy.set_base(base, tuned_below=below)
        return policy.eval().requires_grad_(False)

    def sampled_at(self, times: str | None = None, steps: int | None = None) -> Self:
        """The same run with its policies sampled in K steps at `trailing`, `leading` or `centred` times; None: as is.

        A clone does not depend on them; a fine-tuned policy was tuned at its times, of which fewer can be taken.
        Raises ConfigError where the run was fine-tuned at others, or K does not divide the training steps.
        """
        model = self.config.model
        if steps is not None and model.kind != "diffusion":
            raise ConfigError(f"{self.name} is a {model.kind} policy, which has no denoising steps; leave --steps out")
        times, steps = times or model.sampler_times, steps or model.num_denoising_steps
        if self.finetune is not None and times != model.sampler_times:
            raise ConfigError(
                f"{self.name} was fine-tuned at {model.sampler_times} sampler times, wanted {times}: leave them out, "
                f"or fine-tune its clone again with --set chain.sampler_times={times}"
            )
        if self.finetune is not None and (tuned := self.finetune.config.chain.num_denoising_steps) % steps:
            raise ConfigError(
                f"{self.name} was fine-tuned in {tuned} denoising steps, wanted {steps}: take a divisor, or fine-tune "
                f"its clone again with --set chain.num_denoising_steps={steps}"
            )
        if model.num_train_steps % steps:
            raise ConfigError(f"wanted a divisor of the {model.num_train_steps} training steps, got {steps} steps")
        sampled = replace(model, sampler_times=times, num_denoising_steps=steps)
        return replace(self, origin=replace(self.origin, config=replace(self.config, model=sampled)))

    def provenance(self) -> dict[str, Any]:
        """What has to be known to make the fine-tuning again; empty for a pre-trained policy."""
        tuned = self.finetune
        if tuned is None:
            return {}
        best = {key: value for key, value in tuned.best.items() if key != "weights"}
        return {
            "finetune": {
                "config": to_mapping(tuned.config),
                "config_sha256": config_hash(tuned.config),
                "iterations": tuned.iteration,
                "env_steps": tuned.env_steps,
                "elapsed_s": round(tuned.elapsed_s, 1),
                "best": best,
                **tuned.code,
            }
        }

    def _weights(self, weights: str) -> Mapping[str, Tensor]:
        if weights not in self.available_weights:
            never = " (this run was never evaluated)" if weights == "best" else ""
            raise ConfigError(f"weights: wanted one of {', '.join(self.available_weights)}, got {weights!r}{never}")
        if self.finetune is None:
            return self.origin.model if weights == "raw" else self.origin.ema
        if weights == "best":
            found: Mapping[str, Tensor] = self.finetune.best["weights"]
            return found
        found = self.finetune.learner["actor" if weights == "raw" else "ema"]
        return found


def load_run(folder: Path) -> Run:
    """Read a run folder. Raises TrainingError when it holds no checkpoint or one that cannot be read."""
    if (folder / finetuned.FILE_NAME).is_file():
        tuned = finetuned.load_checkpoint(folder)
        return Run(origin=tuned.origin, finetune=tuned)
    return Run(origin=pretrained.load_checkpoint(folder), finetune=None)
