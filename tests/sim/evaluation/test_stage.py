"""A batched world stands where robosuite has none: the same episode as the worlds that policies are measured in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.actions import deltas_from_goals
from d2ppo_core.representations import EE_ABSOLUTE
from d2ppo_core.task_folders import VARIABLE
from sim.batch.env import BatchedEnv
from sim.evaluation.film import Outcome, expert_episode, policy_episode
from sim.evaluation.stage import BatchedStage, open_stage

EXAMPLE = str(Path(__file__).parents[3] / "examples" / "own_task" / "stack_cubes")
GOAL = np.array([0.02, 0.01, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0], np.float32)
"""Position, first two columns of a rotation that looks down, gripper open."""


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchedStage]:
    monkeypatch.setenv(VARIABLE, "")
    with open_stage(EXAMPLE) as stage:
        assert isinstance(stage, BatchedStage)
        yield stage


def to_its_end(source) -> Outcome:
    """Let an episode run, unseen."""
    while True:
        try:
            next(source)
        except StopIteration as end:
            return end.value


def test_a_seed_is_the_episode_that_batched_worlds_have(stage: BatchedStage):
    stage.reset(5)
    with BatchedEnv(EXAMPLE, 1, num_threads=1) as env:
        seen, _ = env.reset(seed=[5])
        mine = stage.observe(images=False)
        assert {key: value.shape for key, value in mine.items()} == {key: value[0].shape for key, value in seen.items()}
        for key, values in seen.items():
            assert mine[key] == pytest.approx(values[0], abs=1e-6)
        action = np.array([[0.3, -0.2, 0.5, 0.0, 0.0, 0.1, 1.0]], np.float32)
        after = env.step(action)[0]
        stage.step(action[0])
        assert stage.observe(images=False)["object"] == pytest.approx(after["object"][0], abs=1e-5)


def test_what_a_camera_draws_stands_where_the_world_does(stage: BatchedStage):
    stage.reset(1)
    red_m = stage.observe(images=False)["object"][:3]
    assert stage.data.body("red_cube").xpos == pytest.approx(red_m, abs=1e-6)
    picture = stage.observe(images=True)["robot0_eye_in_hand_image"]
    assert picture.shape == (96, 96, 3) and picture.std() > 5.0
    state = stage.state()
    stage.reset(2)
    assert np.abs(stage.state() - state).max() > 1e-3
    stage.set_state(state)
    assert stage.state()[1:] == pytest.approx(state[1:])
    assert stage.data.body("red_cube").xpos == pytest.approx(red_m, abs=1e-6)


def test_the_expert_stacks_most_of_the_time(stage: BatchedStage):
    outcomes = [to_its_end(expert_episode(stage, "stack_cubes", seed, 0.8)) for seed in range(6)]
    assert sum(outcome.success for outcome in outcomes) >= 4
    assert all(outcome.steps <= stage.task.horizon_steps for outcome in outcomes)


def test_a_policy_of_goals_gets_there(stage: BatchedStage):
    outcome = to_its_end(
        policy_episode(
            stage,
            lambda observation: np.tile(GOAL, (4, 1)),
            3,
            action_horizon=4,
            images=False,
            max_steps=40,
            representation=EE_ABSOLUTE,
        )
    )
    assert not outcome.success and outcome.steps == 40
    assert stage.observe(images=False)["robot0_eef_pos"] == pytest.approx(GOAL[:3], abs=0.01)
    site, hand = stage.data.site("gripper0_right_grip_site"), stage.data.body("robot0_right_hand")
    base = stage.data.site("robot0_right_center").xmat.reshape(1, 3, 3)
    wanted = deltas_from_goals(GOAL[None], site.xpos[None, None], hand.xmat.reshape(1, 1, 3, 3), base)[0]
    assert stage.deltas(GOAL, EE_ABSOLUTE) == pytest.approx(wanted)
    assert np.abs(stage.deltas(np.full(7, 3.0))).max() == 1.0
