"""Goals made of a file's deltas."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.config import DataConfig, load_config
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.representation import actions_of, keys_of
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import ConfigError, DataError
from d2ppo_core.representations import EE_ABSOLUTE

GOALS = DataConfig(action_representation=EE_ABSOLUTE)


@pytest.fixture
def episode(dataset: Path) -> Episode:
    with EpisodeReader(dataset) as reader:
        return reader.read(reader.names[0])


def test_the_goal_of_a_step_is_the_observed_pose_moved_by_the_delta(episode: Episode) -> None:
    goals = actions_of(episode, GOALS)
    assert goals.shape == (len(episode), 10)
    moved = episode.observations["robot0_eef_pos"] + 0.05 * episode.actions[:, :3]
    np.testing.assert_allclose(goals[:, :3], moved, atol=1e-12)
    np.testing.assert_array_equal(goals[:, 9], episode.actions[:, 6])
    x, y, z, w = episode.observations["robot0_eef_quat"].T
    np.testing.assert_allclose(
        goals[:, 3:6], np.stack([1 - 2 * (y**2 + z**2), 2 * (x * y + w * z), 2 * (x * z - w * y)], 1)
    )


def test_the_target_chosen_is_the_one_that_moves_the_goal(episode: Episode) -> None:
    meant = dataclasses.replace(episode, expert_actions=np.zeros_like(episode.actions))
    still = actions_of(meant, GOALS)
    np.testing.assert_array_equal(still[:, :3], episode.observations["robot0_eef_pos"])
    done = actions_of(meant, dataclasses.replace(GOALS, action_target="executed"))
    np.testing.assert_array_equal(done, actions_of(episode, GOALS))


def test_deltas_stay_the_files_own(episode: Episode) -> None:
    assert actions_of(episode, DataConfig()) is episode.actions


def test_windows_of_goals_hold_the_last_one_and_need_no_poses_in_the_policys_state(
    dataset: Path,
) -> None:
    config = dataclasses.replace(GOALS, low_dim_keys=("object",))
    windows, _ = load_windows(dataset, config)
    assert windows.state.shape == (60, 10) and windows.chunks.shape == (60, 4, 10)
    np.testing.assert_array_equal(windows.chunks[8], np.tile(windows.chunks[8, 0], (4, 1)))
    np.testing.assert_array_equal(windows.chunks[5, 3], windows.chunks[8, 0])


def test_poses_are_read_once_per_arm() -> None:
    assert keys_of(GOALS) == list(GOALS.low_dim_keys)
    two = dataclasses.replace(GOALS, base_yaw_rad=(0.0, 0.0))
    assert keys_of(two)[-2:] == ["robot1_eef_pos", "robot1_eef_quat"]
    assert keys_of(dataclasses.replace(two, action_representation="osc_delta")) == list(two.low_dim_keys)


def test_what_goals_cannot_be_made_of_is_refused_by_name(episode: Episode) -> None:
    with pytest.raises(DataError, match="one per arm for actions of 7 numbers, got 2 of them"):
        actions_of(episode, dataclasses.replace(GOALS, base_yaw_rad=(0.0, 0.0)))
    blind = dataclasses.replace(episode, observations={"object": episode.observations["object"]})
    with pytest.raises(DataError, match="made of robot0_eef_pos, robot0_eef_quat, which the episode lacks"):
        actions_of(blind, GOALS)
    with pytest.raises(ConfigError, match="action_representation: wanted one of osc_delta, ee_absolute, got 'joint'"):
        DataConfig(action_representation="joint")


def test_transport_knows_how_its_arms_stand() -> None:
    for name in ("transport_state", "transport_image"):
        np.testing.assert_allclose(load_config(name).data.base_yaw_rad, [np.pi / 2, -np.pi / 2])
