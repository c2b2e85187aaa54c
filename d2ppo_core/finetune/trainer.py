"""Stage 2, one iteration: collect, estimate advantages, update; and how the policy is evaluated on the way."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2ppo_core.config import FinetuneConfig, differences
from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.envs.episodes import Episodes, run_episodes
from d2ppo_core.envs.protocol import Observation, VecEnv
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.checkpoint import FinetuneCheckpoint
from d2ppo_core.finetune.collector import Collector, local_collector
from d2ppo_core.finetune.learner import Learner
from d2ppo_core.finetune.observe import Observer, observer_of
from d2ppo_core.finetune.ppo import PpoUpdate
from d2ppo_core.finetune.progress import ACTING, LEARNING, Progress, silent
from d2ppo_core.finetune.qppo import QppoUpdate
from d2ppo_core.finetune.replay import Replay
from d2ppo_core.finetune.successes import Successes
from d2ppo_core.finetune.weighted import WeightedUpdate
from d2ppo_core.models.build import build_chain, build_policy
from d2ppo_core.models.critic import Critic
from d2ppo_core.models.ensemble import ChunkCritics
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.device import check_compiler, open_device
from d2ppo_core.pretrain.provenance import describe_code


def iteration_seed(seed: int, iteration: int, stream: int) -> int:
    """Seed of one use (`stream`) of randomness in one iteration."""
    return int(np.random.SeedSequence((seed, iteration, stream)).generate_state(1)[0])


class Trainer:
    """Everything a run consists of, restorable to the bit between iterations."""

    def __init__(self, config: FinetuneConfig, origin: Checkpoint, worlds: VecEnv | Collector) -> None:
        """Start from the averaged weights of a pre-trained policy.

        Args:
            config: The run.
            origin: The pre-trained policy.
            worlds: To train in, or what collects in them.

        Raises:
            ConfigError: the policy belongs to another task, the environment lacks what it reads, the chain's steps do
                not divide its training steps, pictures are asked of a policy that sees none, or the device is not
                there.
        """
        if origin.config.task != config.task:
            raise ConfigError(f"wanted a policy for {config.task}, got one for {origin.config.task}")
        check_pictures(config, origin)
        self.device = open_device(config.device, key="device")
        if config.compile:
            check_compiler("compile")
        torch.manual_seed(config.seed)
        origin = sampled_as_tuned(origin, config.chain)
        self.config, self.origin, self.code = config.at_times_of(origin.config), origin, describe_code()
        data = origin.config.data
        self.observer = observer_of(origin)
        policy = build_policy(origin.config, origin.shapes)
        policy.load_state_dict(origin.ema)
        self.chain = build_chain(policy, self.config.chain, action_horizon=data.action_horizon).to(self.device)
        self.critic = self._critic().to(self.device)
        self.chain.half_encoder = self.critic.half_encoder = config.precision == "bfloat16"
        self.update = self._learner()
        self.collector = worlds if isinstance(worlds, Collector) else local_collector(worlds, origin)
        self.iteration, self.env_steps, self.elapsed_s = 0, 0, 0.0
        self.best: dict[str, Any] = {}

    def iterate(self, stage: Callable[[str], Progress] = lambda name: silent) -> dict[str, float]:
        """One iteration: experience, then the update; returns scalars.

        Args:
            stage: Told what begins, gives what is told how far it is.

        Raises:
            TrainingError: a loss is not finite.
        """
        config, began_s = self.config, time.monotonic()
        rollout = self.collector.collect(
            self.chain,
            chunks=config.env.chunks_per_iteration,
            seed=iteration_seed(config.seed, self.iteration, 0),
            progress=stage(ACTING),
        )
        collected_s = time.monotonic()
        generator = torch.Generator().manual_seed(iteration_seed(config.seed, self.iteration, 1))
        actor = self.iteration >= config.ppo.critic_warmup_iterations
        scalars = self.update.update(rollout, generator, actor=actor, progress=stage(LEARNING))
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

    def evaluate(self, env: VecEnv, weights: str, progress: Progress = silent) -> Episodes:
        """Episodes with fixed seeds and the deterministic sampler; `weights` is `ema` or `raw`."""
        chosen = self.update.ema.state_dict() if weights == "ema" else self.chain.policy.state_dict()
        return self._measure(env, chosen, self.config.success.selection_seeds, progress)

    def confirm(self, env: VecEnv, progress: Progress = silent) -> None:
        """Measure the selected weights in episodes that had no part in selecting them, once."""
        seeds = self.config.success.confirmation_seeds
        if seeds and self.best and "confirmed" not in self.best:
            found = self._measure(env, self.best["weights"], seeds, progress)
            self.best |= {"confirmed": found.success_rate, "confirmed_episodes": len(seeds)}

    def _measure(self, env: VecEnv, weights: dict[str, Tensor], seeds: range, progress: Progress) -> Episodes:
        act = Actor(self._deployed(weights), self.observer, seed=seeds.start, device=self.device)
        return run_episodes(
            env,
            act,
            action_horizon=self.origin.config.data.action_horizon,
            seeds=seeds,
            progress=lambda ended: progress(ended / len(seeds)),
        )

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
        if differing := differences(_fixed(saved.config), _fixed(self.config)):
            raise TrainingError(
                f"the checkpoint was trained with another configuration ({differing}); leave out --config and --set to "
                "go on by its own, or use another --out folder"
            )
        self.update.load_state_dict(saved.learner)
        self.iteration, self.env_steps, self.elapsed_s = saved.iteration, saved.env_steps, saved.elapsed_s
        self.best, self.code = saved.best, saved.code

    def _critic(self) -> Critic | ChunkCritics:
        """Of observations, or of observations and chunks."""
        config, origin = self.config, self.origin
        encoder, sizes = build_policy(origin.config, origin.shapes).encoder, asdict(config.critic)
        if config.algorithm != "qppo":
            return Critic(encoder, **sizes)
        executed = origin.config.data.action_horizon * origin.shapes.action_dim
        return ChunkCritics(encoder, chunk_dim=executed, members=config.qppo.critics, **sizes)

    def _learner(self) -> Learner:
        config, shapes = self.config, self.origin.shapes
        store = {
            "chunk_dim": self.origin.config.data.pred_horizon * shapes.action_dim,
            "random_shift_px": config.ppo.random_shift_px,
        }
        cloned = Successes(config.self_cloning, shapes, **store) if config.self_cloning.weight else None
        if isinstance(self.critic, ChunkCritics):
            replay = Replay(config.qppo.replay_chunks, shapes, **store, device=self.device)
            return QppoUpdate(self.chain, self.critic, config, replay, successes=cloned)
        if config.algorithm == "ppo":
            return PpoUpdate(self.chain, self.critic, config.ppo, compiled=config.compile, successes=cloned)
        return WeightedUpdate(self.chain, self.critic, self.config)

    def _deployed(self, weights: dict[str, Tensor]) -> ChunkPolicy:
        policy = build_policy(self.origin.config, self.origin.shapes)
        policy.load_state_dict(weights)
        self.chain.complete(policy)
        return policy.eval().requires_grad_(False)


class Actor:
    """A policy as `run_episodes` wants it: observations to actions, with noise from a generator of its own."""

    def __init__(
        self, policy: ChunkPolicy, observer: Observer, *, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        """Move the policy to the device; its noise is drawn on the CPU from `seed`."""
        self.policy, self.observer, self.device = policy.to(device), observer, device
        self._generator = torch.Generator().manual_seed(seed)  # of the CPU: the same noise on every device

    def __call__(self, obs: Observation) -> Any:
        """(N, Tp, Da) actions within [-1, 1]."""
        state, images = self.observer.inputs(obs).tensors(self.device)
        shape = (len(state), self.policy.pred_horizon, self.policy.action_dim)
        noise = torch.randn(shape, generator=self._generator).to(self.device)
        return self.observer.actions(self.policy.sample(state, images, noise))


def check_pictures(config: FinetuneConfig, origin: Checkpoint) -> None:
    """Raise ConfigError where pictures are to be shifted and the policy sees none."""
    if config.ppo.random_shift_px and not origin.shapes.num_cameras:
        raise ConfigError(
            f"ppo.random_shift_px: wanted 0 for {origin.config.name}, which was trained without pictures, got "
            f"{config.ppo.random_shift_px}; name a pre-training with pictures by --origin, or set it to 0"
        )


def sampled_as_tuned(origin: Checkpoint, chain: ChainConfig) -> Checkpoint:
    """The origin with a sampler that denoises only at times which the chain visits: as many or fewer, spaced alike.

    A policy tuned in fewer steps than its sampler takes would otherwise be deployed at times that nothing was tuned at.
    Raises ConfigError when the chain's steps do not divide the training steps.
    """
    model, steps = origin.config.model, chain.num_denoising_steps
    if model.kind != "diffusion":
        return origin
    if model.num_train_steps % steps:
        raise ConfigError(
            f"chain.num_denoising_steps: wanted a divisor of the {model.num_train_steps} steps that the policy was "
            f"trained with, got {steps}"
        )
    if steps % model.num_denoising_steps:
        model = replace(model, num_denoising_steps=steps)
    model = replace(model, sampler_times=chain.sampler_times or model.sampler_times)
    return replace(origin, config=replace(origin.config, model=model))


def _fixed(config: FinetuneConfig) -> FinetuneConfig:
    """The part of a configuration that must not change between the calls of a run."""
    env = replace(config.env, threads=1, ray_address="")
    success = replace(config.success, confirm_episodes=0)
    return replace(config, env=env, success=success, threads=1, iterations=1, device="cpu", compile=False)
