from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from d2ppo_core.envs import AutoresetMode, BatchEnv
from d2ppo_core.envs.episodes import Episodes, run_episodes
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.errors import ConfigError

from ..finetune.tiny_task import HORIZON, SPEED, PointEnv


def towards_the_goal(obs: Observation) -> NDArray[np.float32]:
    """Chunks of four actions; for worlds whose goal lies left of the start, none."""
    way = (obs["goal"] - obs["position"]) * (obs["goal"][:, :1] > 0)
    chunk = np.zeros((len(way), 4, 7), np.float32)
    chunk[:, :, :2] = np.clip(way[:, None] / (4 * SPEED), -1, 1)
    return chunk


def worlds(num_envs: int, **options: Any) -> PointEnv:
    return PointEnv(num_envs, autoreset_mode=AutoresetMode.DISABLED, **({"terminate_on_success": True} | options))


def run(num_envs: int, count: int, **options: Any) -> Episodes:
    seeds = range(100, 100 + count)
    return run_episodes(worlds(num_envs, **options), towards_the_goal, action_horizon=4, seeds=seeds)


def test_an_episode_per_seed_whatever_the_number_of_worlds() -> None:
    found = run(40, 40)
    goals = worlds(40).reset(seed=100)[0]["goal"]
    np.testing.assert_array_equal(found.success, goals[:, 0] > 0)
    assert found.seeds == tuple(range(100, 140))
    assert found.success_rate == float((goals[:, 0] > 0).mean())
    for num_envs in (1, 7, 100):
        other = run(num_envs, 40)
        np.testing.assert_array_equal(found.success, other.success)
        np.testing.assert_array_equal(found.steps, other.steps)


def test_steps_are_counted_to_the_end_of_the_episode() -> None:
    found = run(10, 20)
    assert (found.steps[~found.success] == HORIZON).all()
    assert ((found.steps[found.success] >= 4) & (found.steps[found.success] < HORIZON)).all()


def test_success_at_any_step_counts_where_episodes_go_on() -> None:
    found, ended = run(10, 20, terminate_on_success=False), run(10, 20)
    np.testing.assert_array_equal(found.success, ended.success)
    assert (found.steps == HORIZON).all()


def test_only_the_action_horizon_is_executed() -> None:
    env = worlds(3)
    run_episodes(env, towards_the_goal, action_horizon=3, seeds=range(3))
    assert {actions.shape[:2] for actions in env.actions} <= {(3, 1), (3, 3)}


def test_what_is_answered_for_worlds_that_ended_does_not_matter() -> None:
    def careless(obs: Observation) -> NDArray[np.float32]:
        chunk = towards_the_goal(obs)
        chunk[np.linalg.norm(obs["goal"] - obs["position"], axis=1) < 0.08] = np.nan  # solved, or never started
        return chunk

    for num_envs in (10, 25):
        found = run_episodes(worlds(num_envs), careless, action_horizon=4, seeds=range(100, 120))
        np.testing.assert_array_equal(found.success, run(10, 20).success)


def test_a_policy_that_answers_nonsense_is_still_refused() -> None:
    with pytest.raises(ConfigError, match="actions must be finite numbers"):
        run_episodes(worlds(2), lambda obs: np.full((2, 4, 7), np.nan), action_horizon=4, seeds=[0, 1])


def test_progress_is_told_up_to_the_last_episode() -> None:
    told: list[int] = []
    run_episodes(worlds(4), towards_the_goal, action_horizon=4, seeds=range(10), progress=told.append)
    assert told == sorted(told) and told[-1] == 10


def test_a_world_that_gets_free_takes_the_next_seed() -> None:
    """Failures take the whole time; the other world passes on to the next episode meanwhile."""
    told: list[tuple[int, int]] = []
    run_episodes(
        worlds(2),
        towards_the_goal,
        action_horizon=4,
        seeds=range(100, 110),
        begin=lambda worlds, seeds: told.extend(zip(worlds, seeds, strict=True)),
    )
    assert [seed for _, seed in told] == list(range(100, 110)) and told[:2] == [(0, 100), (1, 101)]
    solved = run(10, 10).success
    assert 0 < solved.sum() < 10
    places = [world for world, _ in told]
    assert any(before == after for before, after in zip(places, places[1:], strict=False)), "they went in blocks"


def test_no_seeds_and_worlds_that_restart_by_themselves_are_refused() -> None:
    with pytest.raises(ConfigError, match="wanted at least one seed"):
        run_episodes(worlds(2), towards_the_goal, action_horizon=4, seeds=[])
    with pytest.raises(ConfigError, match="wanted autoreset DISABLED, got SAME_STEP"):
        run_episodes(PointEnv(2), towards_the_goal, action_horizon=4, seeds=[0])


class Milestones(PointEnv):
    """Tells where the goals lie, and which points have come near."""

    def stages(self, obs: Observation) -> dict[str, NDArray[np.bool_]]:
        left_m = np.linalg.norm(obs["goal"] - obs["position"], axis=1)
        return {"to_the_right": obs["goal"][:, 0] > 0, "near": left_m < 0.1}


def test_what_was_seen_on_the_way_is_told_per_episode_whatever_the_number_of_worlds() -> None:
    def found(num_envs: int) -> Episodes:
        env = Milestones(num_envs, autoreset_mode=AutoresetMode.DISABLED, terminate_on_success=True)
        return run_episodes(env, towards_the_goal, action_horizon=4, seeds=range(100, 140))

    episodes = found(40)
    assert list(episodes.stages) == ["to_the_right", "near"]
    np.testing.assert_array_equal(episodes.stages["to_the_right"], episodes.success)
    assert episodes.stages["near"][episodes.success].all() and not episodes.stages["near"].all()
    for name, seen in found(7).stages.items():
        np.testing.assert_array_equal(seen, episodes.stages[name])


def test_a_task_without_stages_has_none() -> None:
    class Plain(PointEnv):
        stages = BatchEnv.stages

    env = Plain(5, autoreset_mode=AutoresetMode.DISABLED)
    assert run_episodes(env, towards_the_goal, action_horizon=4, seeds=range(5)).stages == {}
