"""What a folder holds to be measured: a run's policies, by weights and way of sampling, or a bundle's only one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from d2ppo_core.bundle import find_bundle, load_bundle
from d2ppo_core.errors import BundleError, ConfigError
from d2ppo_core.evaluation.run_sampler import RunSampler
from d2ppo_core.evaluation.samplers import (
    DETERMINISTIC,
    SAMPLINGS,
    STOCHASTIC,
    BundleSampler,
    Sampler,
    Variant,
)
from d2ppo_core.finetune import checkpoint as finetuned
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.pretrain import checkpoint as pretrained
from d2ppo_core.representations import OSC_DELTA

LADDER = (1, 2, 5, 10, 20)
"""Denoising steps K of the whole table, as far as they divide the training steps."""


class PolicyFolder(ABC):
    """A folder with policies of one task that read the same observations."""

    folder: Path
    task: str
    action_horizon: int
    """Actions executed of each chunk."""
    action_representation: str = OSC_DELTA
    low_dim_keys: tuple[str, ...]
    image_keys: tuple[str, ...]
    image_hw: tuple[int, int]
    """Height and width of the cameras' pictures; zeros where there are none."""

    @abstractmethod
    def variants(
        self, weights: Sequence[str] = (), samplings: Sequence[str] = (), steps: Sequence[int] = ()
    ) -> tuple[Variant, ...]:
        """Everything asked for in every combination; nothing asked for is what is exported.

        Raises:
            ConfigError: something is asked for that the folder does not hold.
        """

    @abstractmethod
    def ladder(self, weights: Sequence[str] = ()) -> tuple[Variant, ...]:
        """All weights, or these, with K = 1, 2, 5, 10, 20 and with the stochastic sampler. Raises as `variants`."""

    @abstractmethod
    def sampler(self, variant: Variant) -> Sampler:
        """One of the policies, ready to be asked. Raises as `variants`."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What tells this folder's content from any other's."""

    def check(self, task: str, shown: Sequence[str]) -> None:
        """Raise ConfigError where the policies are for another task or read what its worlds do not show."""
        if task != self.task:
            raise ConfigError(f"wanted a policy for {task}, got {self.folder} for {self.task}")
        missing = [key for key in (*self.low_dim_keys, *self.image_keys) if key not in shown]
        if missing:
            raise ConfigError(f"{self.folder} reads {', '.join(missing)}; the worlds show {', '.join(shown)}")


class RunFolder(PolicyFolder):
    """The folder of a run of either stage."""

    def __init__(self, folder: Path, sampler_times: str | None = None) -> None:
        """Read it. Raises TrainingError when it holds no checkpoint that can be read, ConfigError as `sampled_at`."""
        self.folder, self._run = folder, load_run(folder).sampled_at(sampler_times)
        config = self._run.config
        self.task, self.action_horizon = config.task, config.data.action_horizon
        self.action_representation = config.data.action_representation
        self.low_dim_keys, self.image_keys = config.data.low_dim_keys, config.data.image_keys
        self.image_hw = self._run.origin.shapes.camera_hw

    def variants(
        self, weights: Sequence[str] = (), samplings: Sequence[str] = (), steps: Sequence[int] = ()
    ) -> tuple[Variant, ...]:
        """As `PolicyFolder.variants`; without K the configured one, of the exploring chain where it is stochastic."""
        chosen = []
        for name, sampling in product(weights or (self._run.preferred_weights,), samplings or (DETERMINISTIC,)):
            for count in steps or (self._usual_steps(sampling),):
                chosen.append(Variant(weights=name, sampling=sampling, num_denoising_steps=count))
                self._check(chosen[-1])
        return tuple(chosen)

    def ladder(self, weights: Sequence[str] = ()) -> tuple[Variant, ...]:
        """As `PolicyFolder.ladder`."""
        model = self._run.config.model
        steps = [k for k in LADDER if model.num_train_steps % k == 0] if model.kind == "diffusion" else [0]
        return tuple(
            variant
            for name in weights or self._run.available_weights
            for variant in (*self.variants([name], [DETERMINISTIC], steps), *self.variants([name], [STOCHASTIC]))
        )

    def sampler(self, variant: Variant) -> Sampler:
        """As `PolicyFolder.sampler`."""
        self._check(variant)
        return RunSampler(self._run, variant)

    def record(self) -> dict[str, Any]:
        """Stage and progress."""
        run = self._run
        record = {"run": run.name, "seed": run.config.seed, "steps": run.origin.step, **run.origin.code}
        record["sampler_times"] = run.config.model.sampler_times
        return record if run.finetune is None else {**record, **run.provenance()}

    def _usual_steps(self, sampling: str) -> int:
        model, tuned = self._run.config.model, self._run.finetune
        if model.kind != "diffusion":
            return 0
        if sampling != STOCHASTIC:
            return model.num_denoising_steps
        return model.num_train_steps if tuned is None else tuned.config.chain.num_denoising_steps

    def _check(self, variant: Variant) -> None:
        held, model, steps = self._run.available_weights, self._run.config.model, variant.num_denoising_steps
        if variant.weights not in held:
            raise ConfigError(f"weights: wanted one of {', '.join(held)} ({self.folder}), got {variant.weights!r}")
        if variant.sampling not in SAMPLINGS:
            raise ConfigError(f"sampling: wanted one of {', '.join(SAMPLINGS)}, got {variant.sampling!r}")
        if model.kind != "diffusion":
            if steps:
                raise ConfigError(
                    f"denoising steps: {self.folder} holds a {model.kind} policy without any, got {steps}"
                )
        elif steps < 1 or model.num_train_steps % steps:
            raise ConfigError(
                f"denoising steps: wanted K that divides T = {model.num_train_steps} ({self.folder}), got {steps}"
            )


class BundleFolder(PolicyFolder):
    """An exported bundle."""

    def __init__(self, folder: Path, sampler_times: str | None = None) -> None:
        """Read it. Raises BundleError when it is damaged, ConfigError when it samples at other times than wanted."""
        self._bundle = load_bundle(folder)
        manifest = self._bundle.manifest
        if sampler_times not in (None, manifest.sampler_times):
            raise ConfigError(
                f"{folder} is a bundle that samples at {manifest.sampler_times or 'no'} times, wanted {sampler_times}: "
                f"its graph cannot be changed; export its run again with --times {sampler_times}"
            )
        self.folder, self.task, self.action_horizon = folder, manifest.task, manifest.action_horizon
        self.action_representation = manifest.action.representation
        self.low_dim_keys = tuple(spec.key for spec in manifest.state_observations)
        self.image_keys = tuple(spec.key for spec in manifest.image_observations)
        height, width, _ = manifest.image_observations[0].shape if self.image_keys else (0, 0, 3)
        self.image_hw = (height, width)

    def variants(
        self, weights: Sequence[str] = (), samplings: Sequence[str] = (), steps: Sequence[int] = ()
    ) -> tuple[Variant, ...]:
        """As `PolicyFolder.variants`: the exported one."""
        only = Variant(
            weights="bundle",
            sampling=DETERMINISTIC,
            num_denoising_steps=self._bundle.manifest.num_denoising_steps,
        )
        if {*weights} - {only.weights} or {*samplings} - {only.sampling} or {*steps} - {only.num_denoising_steps}:
            raise ConfigError(
                f"{self.folder} is a bundle, which holds one policy: {only.sampling}, K = {only.num_denoising_steps}; "
                "its run folder holds more"
            )
        return (only,)

    def ladder(self, weights: Sequence[str] = ()) -> tuple[Variant, ...]:
        """As `PolicyFolder.ladder`: always refused."""
        raise ConfigError(f"{self.folder} is a bundle, which holds one policy; take its run folder for the ladder")

    def sampler(self, variant: Variant) -> Sampler:
        """As `PolicyFolder.sampler`. Raises BundleError when the graph does not reproduce its golden example."""
        from d2ppo_core.runtime.inference.policy import Policy  # needs ONNX Runtime

        return BundleSampler(Policy(self._bundle))

    def record(self) -> dict[str, Any]:
        """Name and hash."""
        return {"bundle": self._bundle.manifest.name, "hash": self._bundle.hash}


def open_policies(where: str | Path, sampler_times: str | None = None) -> PolicyFolder:
    """A run folder of either stage, a bundle folder, or a shipped bundle by name.

    Args:
        where: Path or name.
        sampler_times: `trailing`, `leading` or `centred` for a clone, which can be sampled at any; None takes its own.

    Raises:
        ConfigError: there is no such thing, or it was made for other sampler times.
        TrainingError, BundleError: it cannot be read.
    """
    folder = Path(where)
    if any((folder / name).is_file() for name in (pretrained.FILE_NAME, finetuned.FILE_NAME)):
        return RunFolder(folder, sampler_times)
    try:
        found = find_bundle(where)
    except BundleError as error:
        raise ConfigError(f"{where}: wanted a run folder, a bundle folder or a shipped bundle's name") from error
    if not (found / "manifest.yaml").is_file():
        raise ConfigError(
            f"{where}: wanted a run folder ({pretrained.FILE_NAME} or {finetuned.FILE_NAME}) or a bundle "
            "(manifest.yaml), got a folder with neither"
        )
    return BundleFolder(found, sampler_times)
