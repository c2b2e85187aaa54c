"""Rollouts in worlds that Ray spreads over processes and machines.

Each worker holds a part of the worlds, gets the weights once per iteration through Ray's object store, and draws seeds
and noise from a seed of its own part, so that the joined rollout depends on the number of workers but not on their
timing. A worker that dies is started again by Ray and repeats its part.
"""

import copy
import os
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2ppo_core.errors import ConfigError, D2ppoError, TrainingError
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.finetune.rollout import LocalCollector, Rollout, join_rollouts
from d2ppo_core.models.chain import ChainPolicy

MakePart = Callable[[], LocalCollector]
"""Builds a worker's worlds, in the worker."""
_START_S = 600.0
"""Longest wait for all workers to have built their worlds."""

_KNOCK_S = 10.0
"""Longest wait for a cluster's address to answer."""
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Read by Ray when it is imported. Without clusters of many machines it listens on the loopback device only."""
_QUIET: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}


def part_seed(seed: int, part: int) -> int:
    """Seed of one worker's part of a rollout."""
    return int(np.random.SeedSequence((seed, part)).generate_state(1)[0])


class RayCollector:
    """Acts in the worlds of Ray workers."""

    def __init__(
        self, make_part: MakePart, *, workers: int, address: str = "", restarts: int = 3, start_s: float = _START_S
    ) -> None:
        """Start the workers; a cluster on this machine is ended by `close`, another one goes on.

        Args:
            make_part: Builds one worker's worlds and collector; every worker builds the same.
            workers: Their number; each takes one CPU.
            address: `host:port` of a running cluster or `auto`; empty takes the one that this process is connected to,
                or starts one here.
            restarts: So many times each worker may die.
            start_s: Longest wait for the worlds, in seconds.

        Raises:
            ConfigError: Ray is not installed, the cluster does not answer or has no room, or the worlds lack what the
                policy reads.
        """
        self._ray, self._own = _connect(address, workers)
        self._workers: list[Any] = []
        self._check_room(workers)
        worker = self._ray.remote(max_restarts=restarts, max_task_retries=restarts, num_cpus=1)(_Worker)
        self._part = self._ray.put(make_part)  # kept: Ray builds a dead worker again from it
        self._workers = [worker.remote(self._part) for _ in range(workers)]
        self._skeleton: Any = None
        try:
            self._results([w.ready.remote() for w in self._workers], timeout_s=start_s)
        except D2ppoError:
            self.close()
            raise

    def _check_room(self, workers: int) -> None:
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        if cpus < workers:
            self.close()
            raise ConfigError(f"env.workers: wanted {workers} Ray workers of one CPU each, the cluster has {cpus} CPUs")

    def collect(self, policy: ChainPolicy, *, chunks: int, seed: int, progress: Progress = silent) -> Rollout:
        """As `Collector.collect`, without progress; parts are joined in the order of the workers.

        Raises TrainingError when a worker died too often.
        """
        if self._skeleton is None:
            self._skeleton = self._ray.put(copy.deepcopy(policy).cpu())
        weights = self._ray.put({name: value.cpu() for name, value in policy.policy.state_dict().items()})
        parts = [
            worker.collect.remote(self._skeleton, weights, chunks=chunks, seed=part_seed(seed, index))
            for index, worker in enumerate(self._workers)
        ]
        return join_rollouts(self._results(parts))

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        for worker in self._workers:
            self._ray.kill(worker, no_restart=True)
        self._workers = []
        if self._own:
            self._ray.shutdown()
            self._own = False

    def _results(self, references: list[Any], timeout_s: float | None = None) -> list[Any]:
        exceptions = self._ray.exceptions
        try:
            found: list[Any] = self._ray.get(references, timeout=timeout_s)
        except exceptions.GetTimeoutError as error:
            raise ConfigError(
                f"env.workers: {len(references)} Ray workers, one CPU each, did not start within {timeout_s:.0f} s; "
                "the cluster may be busy: lower env.workers, or add machines"
            ) from error
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, D2ppoError):
                raise error.cause from error
            raise
        except exceptions.RayError as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"a Ray worker died too often or its machine is gone: {reason}") from error
        return found


class _Worker:
    """A part of the worlds; what it returns depends on its arguments alone, so that Ray may repeat it anywhere."""

    def __init__(self, make_part: MakePart) -> None:
        torch.set_num_threads(1)
        self._make_part = make_part
        self._collector: LocalCollector | None = None
        self._policy: ChainPolicy | None = None

    def ready(self) -> None:
        """Build the worlds. Raises what building them raises."""
        if self._collector is None:
            self._collector = self._make_part()

    def collect(self, skeleton: ChainPolicy, weights: dict[str, Tensor], *, chunks: int, seed: int) -> Rollout:
        """One part of a rollout; `skeleton` is the policy with the weights of any iteration."""
        self.ready()
        assert self._collector is not None
        if self._policy is None:
            self._policy = skeleton
        self._policy.policy.load_state_dict(weights)
        return self._collector.collect(self._policy, chunks=chunks, seed=seed)


def start_cluster(cpus: int, *, store_bytes: int | None = None) -> None:
    """Start Ray on this machine, on the loopback device only; `ray.shutdown` ends it.

    Args:
        cpus: Workers of one CPU each that fit.
        store_bytes: Size of the object store; None leaves it to Ray.
    """
    os.environ.update(_ALONE)
    import ray

    ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=store_bytes, **_QUIET)


def _connect(address: str, workers: int) -> tuple[Any, bool]:
    """Ray, and whether a cluster was started for this."""
    if not address:
        os.environ.update(_ALONE)
    try:
        import ray
    except ImportError as error:
        raise ConfigError("env.collector=ray needs Ray: pip install 'd2ppo-panda[ray]'") from error
    if ray.is_initialized():
        return ray, False
    if not address:
        start_cluster(workers)
        return ray, True
    try:
        _knock(address)
        ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"env.ray_address: no Ray cluster answers at {address!r}; start one with `ray start`"
        ) from error
    return ray, True


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "//" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
