from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.config import FinetuneConfig
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune.collector import Collector, local_collector, open_collector
from d2ppo_core.finetune.experience import make_experience
from d2ppo_core.finetune.rollout import LocalCollector, Rollout, join_rollouts
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Trainer

from .tiny_runs import finetune_config, make_trainer
from .tiny_task import PointEnv


def collected(origin: Path, trainer: Trainer, worlds: int, seed: int, horizon: int = 16) -> Rollout:
    saved = load_run(origin).origin
    env = PointEnv(worlds, images=bool(saved.config.data.image_keys), horizon_steps=horizon)
    return local_collector(env, saved).collect(trainer.chain, chunks=6, seed=seed)


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_joined_rollouts_lie_side_by_side(origins: Callable[[bool], Path], images: bool) -> None:
    origin = origins(images)
    trainer = make_trainer(origin)
    parts = [collected(origin, trainer, worlds, seed) for worlds, seed in ((3, 1), (2, 2), (4, 3))]
    joined = join_rollouts(parts)
    low = 0
    for part in parts:
        worlds = part.reward.shape[1]
        for name in ("state", "images", "chain", "log_prob", "reward", "terminated", "truncated"):
            whole, own = getattr(joined, name), getattr(part, name)
            assert (whole is None) == (own is None)
            if own is not None:
                np.testing.assert_array_equal(whole[:, low : low + worlds], own)
                assert not np.shares_memory(whole, own) and whole.flags.writeable
        low += worlds
    assert joined.episodes == sum(p.episodes for p in parts) and joined.env_steps == sum(p.env_steps for p in parts)


def test_ends_of_episodes_stay_with_their_worlds_when_joined(origin: Path) -> None:
    trainer = make_trainer(origin)
    parts = [collected(origin, trainer, 3, 1, horizon=8), collected(origin, trainer, 2, 2, horizon=12)]
    joined = join_rollouts(parts)
    assert (np.diff(joined.next_index) > 0).all()
    last = np.arange(6)[:, None] == 5
    np.testing.assert_array_equal(joined.next_index, np.flatnonzero(joined.ended | last))
    where = {
        tuple(np.divmod(index, 5)): state for index, state in zip(joined.next_index, joined.next_state, strict=True)
    }
    for part, low in zip(parts, (0, 3), strict=True):
        worlds = part.reward.shape[1]
        for index, state in zip(part.next_index, part.next_state, strict=True):
            chunk, world = divmod(int(index), worlds)
            np.testing.assert_array_equal(where[chunk, low + world], state)


def test_advantages_of_joined_rollouts_are_those_of_the_parts(origin: Path) -> None:
    trainer = make_trainer(origin)
    parts = [collected(origin, trainer, 3, 1), collected(origin, trainer, 2, 2, horizon=8)]
    rng = np.random.default_rng(0)
    parts = [replace(p, reward=rng.random(p.reward.shape, dtype=np.float32)) for p in parts]
    config = replace(trainer.config.ppo, scale_reward=False)

    def advantages(rollout: Rollout) -> np.ndarray:
        found = make_experience(rollout, trainer.critic, trainer.update.reward_scale, config).advantage
        return found.reshape(rollout.reward.shape).numpy()

    separate = np.concatenate([advantages(part) for part in parts], axis=1)
    np.testing.assert_allclose(advantages(join_rollouts(parts)), separate, atol=1e-6)


def test_the_configuration_chooses_the_collector(origin: Path) -> None:
    made: list[AutoresetMode] = []

    def make(mode: AutoresetMode, /, *, num_envs: int = 8) -> PointEnv:
        made.append(mode)
        return PointEnv(num_envs, autoreset_mode=mode)

    collector = open_collector(finetune_config(), load_run(origin).origin, make)
    assert isinstance(collector, LocalCollector) and isinstance(collector, Collector)
    assert made == [AutoresetMode.SAME_STEP] and collector.env.num_envs == 8
    collector.close()
    trainer = Trainer(finetune_config(), load_run(origin).origin, collector)
    assert trainer.collector is collector


def test_noise_is_drawn_on_the_cpu_whatever_the_device(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(origin)
    devices: list[torch.device] = []
    sample = trainer.chain.sample

    def watched(state: torch.Tensor, images: torch.Tensor | None, generator: torch.Generator) -> object:
        devices.append(generator.device)
        return sample(state, images, generator)

    monkeypatch.setattr(trainer.chain, "sample", watched)
    trainer.collector.collect(trainer.chain, chunks=2, seed=0)
    assert devices == [torch.device("cpu")] * 2


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"collector": "mpi"}, "env.collector: wanted one of local, ray, got 'mpi'"),
        ({"workers": 2}, "env.workers: wanted env.collector=ray with 2 workers, got 'local'"),
        ({"collector": "ray", "workers": 3}, "env.num_envs: wanted a multiple of env.workers = 3, got 8"),
        ({"collector": "ray", "workers": 0}, "env.workers: wanted >= 1, got 0"),
    ],
)
def test_workers_that_do_not_fit_are_refused(env: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_config(env=env)


def test_the_address_of_a_cluster_is_no_part_of_a_run_but_the_number_of_workers_is(origin: Path) -> None:
    def trainer(**env: object) -> Trainer:
        config: FinetuneConfig = finetune_config(env={"collector": "ray", **env})
        return Trainer(config, load_run(origin).origin, PointEnv(8))

    saved = trainer(workers=2).checkpoint()
    trainer(workers=2, ray_address="127.0.0.1:6379").restore(saved)
    with pytest.raises(Exception, match=r"env\.workers 2, now 4"):
        trainer(workers=4).restore(saved)
