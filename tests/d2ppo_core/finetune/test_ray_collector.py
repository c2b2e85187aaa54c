"""A cluster of two workers on the loopback device; it ends with the tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune import ray_collector
from d2ppo_core.finetune.collector import local_collector, open_collector
from d2ppo_core.finetune.ray_collector import RayCollector, part_seed, start_cluster
from d2ppo_core.finetune.rollout import LocalCollector, Rollout, join_rollouts
from d2ppo_core.finetune.run import finetune
from d2ppo_core.finetune.runs import load_run

from . import tiny_task
from .tiny_runs import finetune_config, make_trainer
from .tiny_task import PointEnv

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

RAY = {"collector": "ray", "workers": 2}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray with two CPUs; worlds of the tests travel by value, since workers cannot import them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 would starve them beside other work on this machine
        start_cluster(2, store_bytes=80 * 2**20)
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(tiny_task)
        yield ray
        ray.shutdown()
        cloudpickle.unregister_pickle_by_value(tiny_task)


def worlds(images: bool = False, fatal: Path | None = None) -> Callable[..., PointEnv]:
    """How to build the worlds; with `fatal` the first process that steps them dies once, leaving that file behind."""

    class Mortal(PointEnv):
        def step_chunk(self, actions):
            if fatal is not None and self._elapsed[0] >= 8 and not fatal.exists():
                fatal.touch()
                os._exit(1)
            return super().step_chunk(actions)

    def make(mode: AutoresetMode, /, *, num_envs: int = 8) -> PointEnv:
        return Mortal(num_envs, images=images, autoreset_mode=mode)

    return make


def equal(one: Rollout, other: Rollout) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Rollout))


def expected(origin: Path, policy: Any, *, seed: int) -> Rollout:
    """Two local collectors of four worlds each, one after the other."""
    saved = load_run(origin).origin
    images = bool(saved.config.data.image_keys)
    return join_rollouts(
        [
            local_collector(PointEnv(4, images=images), saved).collect(policy, chunks=6, seed=part_seed(seed, part))
            for part in range(2)
        ]
    )


def test_the_cluster_listens_on_the_loopback_device_only(cluster: Any) -> None:
    assert [node["NodeManagerAddress"] for node in cluster.nodes()] == ["127.0.0.1"]
    ours = [p for p in [psutil.Process(), *psutil.Process().children(recursive=True)] if p.is_running()]
    listening = {c.laddr.ip for p in ours for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening and all(ip.removeprefix("::ffff:").startswith("127.") for ip in listening), listening


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_two_workers_collect_what_their_parts_collect_here(
    cluster: Any, origins: Callable[[bool], Path], images: bool
) -> None:
    origin = origins(images)
    trainer = make_trainer(origin)
    with closing(open_collector(finetune_config(env=RAY), load_run(origin).origin, worlds(images))) as collector:
        for seed in (3, 4, 3):
            rollout = collector.collect(trainer.chain, chunks=6, seed=seed)
            assert equal(rollout, expected(origin, trainer.chain, seed=seed))
            assert rollout.reward.shape == (6, 8) and rollout.state.flags.writeable
        for _ in range(2):
            trainer.update.update(rollout, torch.Generator().manual_seed(0))
        after = collector.collect(trainer.chain, chunks=6, seed=3)
        assert equal(after, expected(origin, trainer.chain, seed=3))  # with the new weights
        assert not np.array_equal(after.chain, rollout.chain)


def test_a_worker_that_dies_repeats_its_part(cluster: Any, origin: Path, tmp_path: Path) -> None:
    trainer, fatal = make_trainer(origin), tmp_path / "died"
    make = worlds(fatal=fatal)
    with closing(open_collector(finetune_config(env=RAY), load_run(origin).origin, make)) as collector:
        rollout = collector.collect(trainer.chain, chunks=6, seed=3)
        assert fatal.exists()
        assert equal(rollout, expected(origin, trainer.chain, seed=3))
        assert equal(collector.collect(trainer.chain, chunks=6, seed=4), expected(origin, trainer.chain, seed=4))


def test_a_worker_that_may_not_die_ends_the_run_in_one_line(cluster: Any, origin: Path, tmp_path: Path) -> None:
    saved, make, trainer = load_run(origin).origin, worlds(fatal=tmp_path / "died"), make_trainer(origin)

    def part() -> LocalCollector:
        return local_collector(make(AutoresetMode.SAME_STEP, num_envs=4), saved)

    with closing(RayCollector(part, workers=2, restarts=0)) as collector:
        with pytest.raises(TrainingError, match="a Ray worker died too often or its machine is gone") as caught:
            collector.collect(trainer.chain, chunks=6, seed=3)
    assert "\n" not in str(caught.value)


def test_worlds_that_lack_what_the_policy_reads_are_refused_as_here(
    cluster: Any, origins: Callable[[bool], Path]
) -> None:
    with pytest.raises(ConfigError, match="the policy reads top_image; the environment shows position, goal"):
        open_collector(finetune_config(env=RAY), load_run(origins(True)).origin, worlds(images=False))


def test_more_workers_than_cpus_are_refused(cluster: Any, origin: Path) -> None:
    saved, make = load_run(origin).origin, worlds()

    def part() -> LocalCollector:
        return local_collector(make(AutoresetMode.SAME_STEP, num_envs=2), saved)

    with pytest.raises(ConfigError, match="env.workers: wanted 4 Ray workers of one CPU each, the cluster has 2 CPUs"):
        RayCollector(part, workers=4)
    with (
        closing(RayCollector(part, workers=2)),
        pytest.raises(ConfigError, match="env.workers: 1 Ray workers, one CPU each, did not start within 1 s"),
    ):
        RayCollector(part, workers=1, start_s=1.0)


def test_a_whole_run_collects_in_workers_and_resumes(cluster: Any, origin: Path, tmp_path: Path) -> None:
    config = finetune_config(env=RAY)
    make = worlds()
    finetune(replace(config, iterations=2), origin, make, tmp_path / "parts", progress=False)
    assert finetune(config, origin, make, tmp_path / "parts", resume=True, progress=False).finished
    finetune(config, origin, make, tmp_path / "whole", progress=False)
    one, other = (load_run(tmp_path / name).policy("raw") for name in ("parts", "whole"))
    assert all((a == b).all() for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_a_cluster_that_does_not_answer_is_one_line(address: str) -> None:
    # In a process of its own: this one may be connected to the cluster of the other tests.
    program = (
        "import sys\nfrom d2ppo_core.errors import ConfigError\nfrom d2ppo_core.finetune import ray_collector\n"
        "try:\n    ray_collector._connect(sys.argv[1], 2)\n"
        "except ConfigError as error:\n    sys.exit(f'LINE {error}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True, timeout=300)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("LINE")]
    assert f"env.ray_address: no Ray cluster answers at '{address}'; start one with `ray start`" in line


def test_the_module_needs_ray_only_when_it_collects() -> None:
    assert "ray" not in vars(ray_collector)
