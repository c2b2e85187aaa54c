"""Stage 2: collect, estimate advantages, update, evaluate, log, checkpoint."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from d2ppo_core.config import FinetuneConfig, save_config
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.envs.chunk import ChunkEnv
from d2ppo_core.envs.episodes import Episodes, run_episodes
from d2ppo_core.envs.protocol import AutoresetMode, Observation, VecEnv
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.checkpoint import FILE_NAME, FinetuneCheckpoint, load_checkpoint, save_checkpoint
from d2ppo_core.finetune.observe import Observer
from d2ppo_core.finetune.ppo import PpoUpdate
from d2ppo_core.finetune.rollout import LocalCollector
from d2ppo_core.models.build import build_policy
from d2ppo_core.models.chain import DiffusionChain
from d2ppo_core.models.critic import Critic
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.device import keep_freed_memory
from d2ppo_core.pretrain.metrics import MetricsWriter
from d2ppo_core.pretrain.provenance import describe_code
from d2ppo_core.pretrain.run import stop_on_signal
from d2ppo_core.runs import load_run

METRICS = (
    "iteration",
    "success/start",
    "success/ema",
    "rollout/success",
    "rollout/reward_per_chunk",
    "rollout/env_steps",
    "losses/policy",
    "losses/value",
    "losses/bc",
    "losses/denoising",
    "ppo/approx_kl",
    "ppo/clip_fraction",
    "ppo/ratio",
    "ppo/minibatches",
    "critic/explained_variance",
    "optim/actor_gradient_norm",
    "speed/collect_s",
    "speed/update_s",
    "speed/env_steps_per_s",
)

MakeEnv = Callable[[AutoresetMode], VecEnv]
"""Builds the worlds to train in (SAME_STEP) or to evaluate in (DISABLED)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of `finetune` ended."""

    iteration: int
    finished: bool
    """False when SIGTERM or SIGINT asked for a stop."""
    env_steps: int
    elapsed_s: float
    success: float
    """Best evaluation; NaN without one."""


def iteration_seed(seed: int, iteration: int, stream: int) -> int:
    """Seed of one use (`stream`) of randomness in one iteration."""
    return int(np.random.SeedSequence((seed, iteration, stream)).generate_state(1)[0])


class Trainer:
    """Everything a run consists of, restorable to the bit between iterations."""

    def __init__(self, config: FinetuneConfig, origin: Checkpoint, env: VecEnv) -> None:
        """Start from the averaged weights of a pre-trained policy.

        Raises:
            ConfigError: the policy belongs to another task, or the environment lacks what it reads.
        """
        if origin.config.task != config.task:
            raise ConfigError(f"wanted a policy for {config.task}, got one for {origin.config.task}")
        torch.manual_seed(config.seed)
        self.config, self.origin, self.code = config, origin, describe_code()
        data = origin.config.data
        self.observer = observer_of(origin)
        policy = build_policy(origin.config, origin.shapes)
        policy.load_state_dict(origin.ema)
        self.chain = DiffusionChain(policy, config.chain, action_horizon=data.action_horizon)
        encoder = copy.deepcopy(build_policy(origin.config, origin.shapes).encoder)
        self.critic = Critic(encoder, hidden_dim=config.critic.hidden_dim, layers=config.critic.layers)
        self.update = PpoUpdate(self.chain, self.critic, config.ppo, num_envs=config.env.num_envs)
        chunk_env = ChunkEnv(env, pred_horizon=data.pred_horizon, action_horizon=data.action_horizon)
        self.collector = LocalCollector(chunk_env, self.observer, config.device)
        self.iteration, self.env_steps, self.elapsed_s = 0, 0, 0.0
        self.best: dict[str, Any] = {}

    def iterate(self) -> dict[str, float]:
        """One iteration: experience, then the update; returns scalars.

        Raises:
            TrainingError: a loss is not finite.
        """
        config, began_s = self.config, time.monotonic()
        rollout = self.collector.collect(
            self.chain, chunks=config.env.chunks_per_iteration, seed=iteration_seed(config.seed, self.iteration, 0)
        )
        collected_s = time.monotonic()
        generator = torch.Generator().manual_seed(iteration_seed(config.seed, self.iteration, 1))
        actor = self.iteration >= config.ppo.critic_warmup_iterations
        scalars = self.update.update(rollout, generator, actor=actor)
        self.iteration += 1
        self.env_steps += rollout.env_steps
        ended_s = time.monotonic()
        return scalars | {
            "rollout/success": rollout.successes / rollout.episodes if rollout.episodes else math.nan,
            "rollout/reward_per_chunk": float(rollout.reward.mean()),
            "rollout/env_steps": float(self.env_steps),
            "speed/collect_s": collected_s - began_s,
            "speed/update_s": ended_s - collected_s,
            "speed/env_steps_per_s": rollout.env_steps / (collected_s - began_s),
        }

    def evaluate(self, env: VecEnv, weights: str) -> Episodes:
        """Episodes with fixed seeds and the deterministic sampler; `weights` is `ema` or `raw`."""
        config = self.config.success
        policy = self._deployed(self.update.ema.state_dict() if weights == "ema" else self.chain.policy.state_dict())
        act = Actor(policy, self.observer, seed=config.first_seed)
        seeds = range(config.first_seed, config.first_seed + config.episodes)
        return run_episodes(env, act, action_horizon=self.origin.config.data.action_horizon, seeds=seeds)

    def take_best(self, success: float) -> None:
        """Keep the averaged weights when no evaluation before was better."""
        if success >= self.best.get("success", -1.0):
            weights = {name: value.clone() for name, value in self.update.ema.state_dict().items()}
            self.best = {"success": success, "iteration": self.iteration, "weights": weights}

    def checkpoint(self) -> FinetuneCheckpoint:
        """The state of the run now."""
        return FinetuneCheckpoint(
            config=self.config,
            origin=self.origin,
            code=self.code,
            iteration=self.iteration,
            env_steps=self.env_steps,
            elapsed_s=self.elapsed_s,
            learner=self.update.state_dict(),
            best=self.best,
        )

    def restore(self, saved: FinetuneCheckpoint) -> None:
        """Continue from a checkpoint. Raises TrainingError when it belongs to another run."""
        if _fixed(saved.config) != _fixed(self.config):
            raise TrainingError("the checkpoint was trained with another configuration; use another --out folder")
        self.update.load_state_dict(saved.learner)
        self.iteration, self.env_steps, self.elapsed_s = saved.iteration, saved.env_steps, saved.elapsed_s
        self.best, self.code = saved.best, saved.code

    def _deployed(self, weights: dict[str, Tensor]) -> DiffusionPolicy:
        policy = build_policy(self.origin.config, self.origin.shapes)
        policy.load_state_dict(weights)
        if self.chain.base is not None:
            stride = policy.num_train_steps // self.chain.config.num_denoising_steps
            policy.set_base(self.chain.base, tuned_below=stride * self.chain.num_steps)
        return policy.eval().requires_grad_(False)


class Actor:
    """A policy as `run_episodes` wants it: observations to actions, with noise from a generator of its own."""

    def __init__(self, policy: DiffusionPolicy, observer: Observer, *, seed: int, device: str = "cpu") -> None:
        self.policy, self.observer, self.device = policy.to(device), observer, device
        self._generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, obs: Observation) -> Any:
        """(N, Tp, Da) actions within [-1, 1]."""
        state, images = self.observer.inputs(obs).tensors(self.device)
        shape = (len(state), self.policy.pred_horizon, self.policy.action_dim)
        noise = torch.randn(shape, generator=self._generator, device=self.device)
        return self.observer.actions(self.policy.sample(state, images, noise))


def observer_of(origin: Checkpoint) -> Observer:
    """What a pre-trained policy reads, as it was trained to read it."""
    data = origin.config.data
    normalizer: Normalizer = origin.normalizer
    return Observer(normalizer=normalizer, low_dim_keys=data.low_dim_keys, image_keys=data.image_keys)


def _fixed(config: FinetuneConfig) -> FinetuneConfig:
    """The part of a configuration that must not change between the calls of a run."""
    env = replace(config.env, threads=1)
    return replace(config, env=env, threads=1, iterations=1)


def finetune(
    config: FinetuneConfig,
    origin: Path,
    make_env: MakeEnv,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Outcome:
    """Fine-tune a pre-trained policy; leave `finetune.pt`, `config.yaml`, `metrics.csv` and `tensorboard/` in `out`.

    Args:
        config: The run.
        origin: Folder of the pre-training.
        make_env: Builds worlds.
        out: Folder of the run.
        resume: Continue the run in `out`; equal to the bit to a run that was never interrupted.
        progress: Show a bar.

    Raises:
        TrainingError: `out` holds a run already (without `resume`), a loss is not finite (the last good checkpoint
            stays), or a checkpoint does not fit.
        ConfigError: the policy is of another task or reads what the environment does not show.
    """
    if not resume and (out / FILE_NAME).exists():
        raise TrainingError(f"{out} already holds a run; continue it with --resume or choose another --out")
    saved = load_checkpoint(out) if resume else None
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    env, eval_env = make_env(AutoresetMode.SAME_STEP), make_env(AutoresetMode.DISABLED)
    try:
        trainer = Trainer(config, load_run(origin).origin if saved is None else saved.origin, env)
        if saved is not None:
            trainer.restore(saved)
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, out / "config.yaml")
        return _loop(trainer, eval_env, out, progress=progress)
    finally:
        env.close()
        eval_env.close()


def _loop(trainer: Trainer, eval_env: VecEnv, out: Path, *, progress: bool) -> Outcome:
    config = trainer.config
    bar = tqdm(total=config.iterations, initial=trainer.iteration, unit="iteration", disable=not progress)
    done = False
    with stop_on_signal() as stop, MetricsWriter(out, trainer.iteration, METRICS) as metrics, bar:
        while trainer.iteration < config.iterations and not stop.is_set() and not done:
            began_s = time.monotonic()
            scalars = {}
            if trainer.iteration == 0:
                scalars["success/start"] = trainer.evaluate(eval_env, "raw").success_rate
            try:
                scalars |= trainer.iterate()
            except TrainingError as error:
                raise TrainingError(f"{error}; the checkpoint of the last whole iteration is in {out}") from error
            if trainer.iteration % config.success.every_iterations == 0 or trainer.iteration == config.iterations:
                scalars["success/ema"] = trainer.evaluate(eval_env, "ema").success_rate
                reached = 0 < config.success.stop_at <= min(scalars["success/ema"], trainer.best.get("last", 0.0))
                trainer.take_best(scalars["success/ema"])
                trainer.best["last"] = scalars["success/ema"]
                done = reached
            trainer.elapsed_s += time.monotonic() - began_s
            metrics.write(trainer.iteration, scalars)
            save_checkpoint(trainer.checkpoint(), out)
            bar.update()
            bar.set_postfix(
                success=f"{scalars['rollout/success']:.2f}", best=f"{trainer.best.get('success', math.nan):.2f}",
                steps_s=f"{scalars['speed/env_steps_per_s']:.0f}",
            )  # fmt: skip
    return Outcome(
        iteration=trainer.iteration,
        finished=done or trainer.iteration >= config.iterations,
        env_steps=trainer.env_steps,
        elapsed_s=trainer.elapsed_s,
        success=float(trainer.best.get("success", math.nan)),
    )
