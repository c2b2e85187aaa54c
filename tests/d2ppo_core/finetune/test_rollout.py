from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.envs import AutoresetMode, ChunkEnv
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune.rollout import LocalCollector, Rollout
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Trainer

from .tiny_runs import make_trainer
from .tiny_task import CAMERA, HORIZON, PointEnv

CHUNKS_PER_EPISODE = HORIZON // 4


def equal(one: Rollout, other: Rollout) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Rollout))


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_equal_seeds_make_equal_rollouts(origins: Callable[[bool], Path], images: bool) -> None:
    def collected(trainer: Trainer, seed: int) -> Rollout:
        return trainer.collector.collect(trainer.chain, chunks=6, seed=seed)

    one, other = (make_trainer(origins(images), PointEnv(8, images=images)) for _ in range(2))
    first = collected(one, 3)
    torch.manual_seed(99)  # whatever happens in between must not matter
    collected(other, 5)
    assert equal(first, collected(other, 3)) and equal(first, collected(one, 3))
    assert not np.array_equal(first.chain, collected(one, 4).chain)
    assert (first.images is not None) == images
    if first.images is not None and first.next_images is not None:
        assert first.images.shape == (6, 8, 1, 16, 16, 3) and first.images.dtype == np.uint8
        assert first.next_images.shape == (len(first.next_index), 1, 16, 16, 3)


def test_what_chunks_led_to_is_kept_where_it_is_not_the_next_observation(origin: Path) -> None:
    env = PointEnv(8)
    trainer = make_trainer(origin, env)
    rollout = trainer.collector.collect(trainer.chain, chunks=6, seed=0)
    last = CHUNKS_PER_EPISODE - 1
    np.testing.assert_array_equal(rollout.truncated, np.arange(6)[:, None].repeat(8, 1) == last)
    assert not rollout.terminated.any()
    np.testing.assert_array_equal(rollout.next_index, [*range(8 * last, 8 * last + 8), *range(40, 48)])
    executed = np.stack(env.actions)  # (chunks, worlds, steps, 7)
    state = trainer.observer.normalizer.state
    for n in range(8):
        begin = state.denormalize(rollout.state[0, n])
        end = state.denormalize(rollout.next_state[n])
        np.testing.assert_allclose(end[:2], begin[:2] + 0.1 * executed[:4, n, :, :2].sum((0, 1)), atol=1e-4)
        np.testing.assert_allclose(end[2:], begin[2:], atol=1e-5)  # the goal of the ended episode ...
        assert not np.allclose(state.denormalize(rollout.state[4, n])[2:], begin[2:], atol=1e-3)  # ... not of the next
        middle = state.denormalize(rollout.state[4, n])
        final = state.denormalize(rollout.next_state[8 + n])
        np.testing.assert_allclose(final[:2], middle[:2] + 0.1 * executed[4:, n, :, :2].sum((0, 1)), atol=1e-4)


def test_an_episode_that_ends_within_a_chunk_is_kept_at_that_chunk(origin: Path) -> None:
    env = PointEnv(8, terminate_on_success=True)
    trainer = make_trainer(origin, env)
    env.radius[:3] = 10.0  # solved by the first step
    rollout = trainer.collector.collect(trainer.chain, chunks=3, seed=0)
    assert rollout.terminated[:, :3].all() and not rollout.terminated[0, 3:].any()
    assert rollout.successes == rollout.episodes == 9
    assert set(range(3)) | {8, 9, 10} <= set(rollout.next_index.tolist())
    for index, state in zip(rollout.next_index, rollout.next_state, strict=True):  # also where the rollout ends too
        np.testing.assert_array_equal(state[2:], rollout.state[index // 8, index % 8, 2:])
    assert not np.array_equal(rollout.state[0, :3, 2:], rollout.state[1, :3, 2:])
    np.testing.assert_array_equal(rollout.reward[:, :3], 1.0)
    assert rollout.env_steps == 9 + 3 * 5 * 4


def test_the_environment_gets_raw_clipped_actions_of_the_executed_horizon(origin: Path) -> None:
    env = PointEnv(8)
    trainer = make_trainer(origin, env)
    range_ = trainer.observer.normalizer.action
    assert not np.allclose(range_.half, 1.0)  # else nothing would be tested
    rollout = trainer.collector.collect(trainer.chain, chunks=5, seed=0)
    chunks = rollout.chain[:, :, -1].reshape(5, 8, 4, 7).clip(-1, 1)
    wanted = (chunks * range_.half + range_.center).clip(-1, 1)
    np.testing.assert_allclose(np.stack(env.actions), wanted, atol=1e-6)
    assert np.abs(rollout.chain[:, :, -1]).max() > 1  # what is learned from is not clipped


def test_only_the_action_horizon_is_executed(origin: Path) -> None:
    trainer = make_trainer(origin, PointEnv(8))
    env = PointEnv(8)
    collector = LocalCollector(ChunkEnv(env, pred_horizon=4, action_horizon=3), trainer.observer)
    rollout = collector.collect(trainer.chain, chunks=2, seed=0)
    assert env.actions[0].shape == (8, 3, 7) and rollout.env_steps == 2 * 8 * 3


def test_rewards_are_summed_over_the_chunk_and_episodes_counted(origin: Path) -> None:
    trainer = make_trainer(origin, PointEnv(8, horizon_steps=6))
    rollout = trainer.collector.collect(trainer.chain, chunks=4, seed=0)
    assert rollout.episodes == 16 and rollout.env_steps == 2 * 8 * 6
    replay = PointEnv(8, horizon_steps=6)
    seeds = [int(s) for s in np.random.SeedSequence(0).generate_state(8)]
    replay.reset(seed=seeds)
    env = trainer.collector.env.env
    assert isinstance(env, PointEnv)
    wanted = [replay.step_chunk(actions).rewards.sum(1) for actions in list(env.actions)]
    np.testing.assert_array_equal(rollout.reward, wanted)


def test_states_are_normalised_as_in_the_pre_training(origin: Path) -> None:
    env = PointEnv(8)
    trainer = make_trainer(origin, env)
    rollout = trainer.collector.collect(trainer.chain, chunks=1, seed=0)
    obs, _ = PointEnv(8).reset(seed=[int(s) for s in np.random.SeedSequence(0).generate_state(8)])
    raw = np.concatenate([obs["position"], obs["goal"]], axis=1)
    saved = load_run(origin).origin.normalizer.state
    np.testing.assert_allclose(rollout.state[0], (raw - saved.center) / saved.half, rtol=1e-6)


def test_an_environment_without_what_the_policy_reads_is_refused(origins: Callable[[bool], Path]) -> None:
    with pytest.raises(ConfigError, match=f"the policy reads {CAMERA}; the environment shows position, goal"):
        make_trainer(origins(True), PointEnv(8, autoreset_mode=AutoresetMode.SAME_STEP))
