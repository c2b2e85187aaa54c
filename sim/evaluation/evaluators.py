"""Where policies are measured: batched worlds, or robosuite itself in several processes.

Equal seeds are equal episodes in both, with equal noise, so that they can be compared one by one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from d2ppo_core.envs.episodes import Episodes, run_episodes
from d2ppo_core.envs.protocol import AutoresetMode
from d2ppo_core.errors import ConfigError, WorldError
from d2ppo_core.evaluation.late import LateActor, delay_of
from d2ppo_core.evaluation.noise import SeededActor
from d2ppo_core.evaluation.policies import PolicyFolder, open_policies
from d2ppo_core.evaluation.samplers import Sampler, Variant
from d2ppo_core.representations import EE_ABSOLUTE
from d2ppo_core.runtime.inference.latency import Latencies
from sim.batch.env import BatchedEnv
from sim.evaluation.episodes import EpisodeResult, alone, run_episode
from sim.robosuite.env import RobosuiteEnv, task_of

BATCHED, ROBOSUITE = "batched", "robosuite"
Progress = Callable[[int], None]
"""Told how many episodes have ended."""


def check_policies(policies: PolicyFolder, task: str) -> None:
    """Raise ConfigError when there is no such task, or the policies do not fit its worlds."""
    known = task_of(task)
    policies.check(task, (*known.low_dim_keys, *known.image_keys))


class Evaluator(Protocol):
    """Runs episodes of one folder's policies."""

    where: str

    def run(self, variant: Variant, seeds: Sequence[int], progress: Progress = ...) -> Episodes:
        """One episode per seed. Raises ConfigError when there is no such policy."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class BatchedEvaluator:
    """Batched worlds of this process."""

    def __init__(
        self,
        policies: PolicyFolder,
        *,
        num_envs: int = 50,
        threads: int | None = None,
        horizon_steps: int | None = None,
        delay: str = "",
    ) -> None:
        """Build the worlds.

        Args:
            policies: What will be measured.
            num_envs: Worlds side by side. Another number changes the policy's answers in their last digits.
            threads: None takes as many as this process may use cores.
            horizon_steps: Control steps per episode; None takes the task's.
            delay: From an observation to its chunk, as `delay_of` takes it; empty: none, and deltas as they are.

        Raises:
            ConfigError: a number is not positive, or the delay is none.
            WorldError: the worlds cannot be built.
        """
        self.where = _named(BATCHED, delay)
        self._policies, self._delay = policies, delay_of(delay) if delay else None
        self._env = BatchedEnv(
            policies.task,
            num_envs,
            num_threads=threads,
            horizon_steps=horizon_steps,
            autoreset_mode=AutoresetMode.DISABLED,
            terminate_on_success=True,
            images=bool(policies.image_keys),
            image_size_px=policies.image_hw,
            action_representation=EE_ABSOLUTE if delay else policies.action_representation,
        )

    def run(self, variant: Variant, seeds: Sequence[int], progress: Progress = lambda done: None) -> Episodes:
        """One episode per seed. Raises ConfigError when there is no such policy."""
        sampler, env = self._policies.sampler(variant), self._env
        actor = _actor(self._policies, sampler, env.num_envs, self._delay, env.base_rotations)
        return run_episodes(
            env,
            actor,
            action_horizon=self._policies.action_horizon,
            seeds=seeds,
            begin=actor.begin,
            progress=progress,
        )

    def close(self) -> None:
        """Free the worlds."""
        self._env.close()


class RobosuiteEvaluator:
    """robosuite itself: one world in each of several processes, or in this one.

    The episode of a seed does not depend on the number of processes.
    """

    def __init__(
        self, policies: PolicyFolder, *, processes: int = 2, horizon_steps: int | None = None, delay: str = ""
    ) -> None:
        """Prepare the processes; they start with the first episodes.

        Args:
            policies: What will be measured.
            processes: With one thread each.
            horizon_steps: Control steps per episode; None takes the task's.
            delay: As of `BatchedEvaluator`.

        Raises:
            ConfigError: processes is not positive, or the delay is none.
            WorldError: robosuite is missing.
        """
        if processes < 1:
            raise ConfigError(f"processes must be positive, got {processes}")
        if delay:
            delay_of(delay)
        self.where = _named(ROBOSUITE, delay)
        self._setting = (policies.folder, horizon_steps, delay)
        self._bench = _Bench(policies, horizon_steps, delay) if processes == 1 else None
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1:  # a forked process would share the parent's OpenGL context
            self._pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_follow_parent)

    def run(self, variant: Variant, seeds: Sequence[int], progress: Progress = lambda done: None) -> Episodes:
        """As `Evaluator.run`. Raises WorldError when robosuite is missing or a process dies."""
        results: dict[int, EpisodeResult] = {}
        if self._bench is not None:
            for seed in seeds:
                results[seed] = self._bench.run(variant, seed)
                progress(len(results))
        else:
            assert self._pool is not None
            futures = [self._pool.submit(_work, self._setting, variant, seed) for seed in seeds]
            try:
                for future in as_completed(futures):
                    results[future.result().seed] = future.result()
                    progress(len(results))
            except BrokenProcessPool as error:
                raise WorldError("a robosuite process died (out of memory?); try again with --processes 1") from error
            finally:
                for future in futures:
                    future.cancel()
        return Episodes(
            seeds=tuple(seeds),
            stages={
                name: np.array([results[seed].stages[name] for seed in seeds], bool)
                for name in results[seeds[0]].stages
            },
            success=np.array([results[seed].success for seed in seeds], bool),
            steps=np.array([results[seed].steps for seed in seeds], np.int32),
        )

    def close(self) -> None:
        """End the processes, after the episodes that run."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._bench is not None:
            self._bench.close()


class _Bench:
    """One robosuite world and the policy that acts in it."""

    def __init__(self, policies: PolicyFolder, horizon_steps: int | None, delay: str) -> None:
        self._policies, self._delay = policies, delay_of(delay) if delay else None
        self._env = RobosuiteEnv(policies.task, image_size_px=policies.image_hw if policies.image_keys else 96)
        self._horizon_steps = horizon_steps or self._env.task.horizon_steps
        self._loaded: tuple[Variant, Sampler] | None = None

    def run(self, variant: Variant, seed: int) -> EpisodeResult:
        if self._loaded is None or self._loaded[0] != variant:
            self._loaded = variant, self._policies.sampler(variant)
        policies, threads = self._policies, torch.get_num_threads()
        actor = _actor(policies, self._loaded[1], 1, self._delay, self._env.base_rotations)
        torch.set_num_threads(1)  # in whichever process: another number may change the last digits
        try:
            return run_episode(
                self._env,
                alone(actor, seed),
                seed,
                policies.action_horizon,
                self._horizon_steps,
                images=bool(policies.image_keys),
                representation=policies.action_representation if self._delay is None else EE_ABSOLUTE,
            )
        finally:
            torch.set_num_threads(threads)

    def close(self) -> None:
        self._env.close()


_Setting = tuple[Path, int | None, str]
"""Policies' folder, control steps per episode and delay."""


def _named(where: str, delay: str) -> str:
    """Name of a kind of worlds with this delay, as in the tables."""
    return f"{where} +{Path(delay).name}" if delay else where


def _actor(
    policies: PolicyFolder,
    sampler: Sampler,
    num_envs: int,
    delay: Callable[[], Latencies] | None,
    bases: Callable[[], NDArray[np.float64]],
) -> SeededActor | LateActor:
    """What acts in the worlds, at once or late."""
    actor = SeededActor(sampler, num_envs)
    if delay is None:
        return actor
    horizon, representation = policies.action_horizon, policies.action_representation
    return LateActor(actor, num_envs, action_horizon=horizon, representation=representation, delay=delay, bases=bases)


@lru_cache(maxsize=1)
def _bench_of(setting: _Setting) -> _Bench:
    folder, horizon_steps, delay = setting
    return _Bench(open_policies(folder), horizon_steps, delay)


def _work(setting: _Setting, variant: Variant, seed: int) -> EpisodeResult:
    """One episode in a worker process."""
    return _bench_of(setting).run(variant, seed)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, however that came about."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
