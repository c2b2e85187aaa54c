import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from d2ppo_core.config import DataConfig
from d2ppo_core.data.episodes import EpisodeReader
from d2ppo_core.data.windows import chunk_actions, file_sha256, load_windows, make_windows, state_vector
from d2ppo_core.errors import DataError

KEYS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")


def numbered(lengths: list[int], dim: int = 7) -> np.ndarray:
    return np.arange(1, sum(lengths) * dim + 1, dtype=np.float32).reshape(-1, dim)


def test_chunks_equal_slices_of_the_episode() -> None:
    actions = numbered([6, 5])
    chunks = chunk_actions(actions, [6, 5], 3)
    np.testing.assert_array_equal(chunks[1], actions[1:4])
    np.testing.assert_array_equal(chunks[6], actions[6:9])


def test_chunks_never_reach_into_the_next_episode_but_hold() -> None:
    actions = numbered([6, 5])
    tail = chunk_actions(actions, [6, 5], 4)[5]
    np.testing.assert_array_equal(tail[0], actions[5])
    np.testing.assert_array_equal(tail[1:, :6], np.zeros((3, 6)))
    np.testing.assert_array_equal(tail[1:, 6], np.full(3, actions[5, 6]))


def test_both_grippers_of_two_arms_are_kept_in_the_tail() -> None:
    actions = numbered([2], dim=14)
    tail = chunk_actions(actions, [2], 2)[1, 1]
    assert tail[6] == actions[1, 6] and tail[13] == actions[1, 13]
    assert np.count_nonzero(tail) == 2


def test_every_frame_starts_a_window(dataset: Path) -> None:
    windows, validation = load_windows(dataset, DataConfig(low_dim_keys=KEYS))
    assert (len(windows), windows.num_episodes, validation) == (60, 6, None)
    assert windows.state.shape == (60, 9) and windows.chunks.shape == (60, 4, 7) and windows.images is None
    assert windows.low_dim_sizes == (3, 4, 2)


def test_dropped_tails_leave_the_whole_chunks_of_every_episode(dataset: Path) -> None:
    held, _ = load_windows(dataset, DataConfig(low_dim_keys=KEYS))
    images = ("robot0_eye_in_hand_image",)
    dropped, _ = load_windows(dataset, DataConfig(low_dim_keys=KEYS, image_keys=images, tails="drop"))
    assert (len(held), len(dropped)) == (60, 60 - 6 * 3)
    np.testing.assert_array_equal(dropped.chunks[:6], held.chunks[:6])  # of nine frames, six start whole chunks
    np.testing.assert_array_equal(dropped.chunks[6], held.chunks[9])
    assert dropped.images is not None and len(dropped.images) == 42


def test_episodes_shorter_than_a_chunk_cannot_be_all_there_is(dataset: Path) -> None:
    with pytest.raises(DataError, match="as long as a chunk of 16 actions; longest 12"):
        load_windows(dataset, DataConfig(low_dim_keys=KEYS, tails="drop", pred_horizon=16))


@pytest.mark.parametrize(("target", "value"), [("expert", 0.25), ("executed", 0.75)])
def test_the_training_target_is_what_was_meant_or_what_was_done_by_choice(
    dataset: Path, target: str, value: float
) -> None:
    with EpisodeReader(dataset) as reader:
        plain = reader.read("demo_0")
    actions = np.full_like(plain.actions, 0.75)
    episode = dataclasses.replace(plain, actions=actions, expert_actions=np.full_like(actions, 0.25))
    windows = make_windows([episode], DataConfig(low_dim_keys=KEYS, action_target=target))
    assert (windows.chunks[0] == value).all()
    unlabelled = make_windows([plain], DataConfig(low_dim_keys=KEYS, action_target=target))
    np.testing.assert_array_equal(unlabelled.chunks[0, 0], plain.actions[0].astype(np.float32))


def test_a_dataset_of_another_task_is_refused(dataset: Path) -> None:
    with pytest.raises(DataError, match="must hold PickPlaceCan demonstrations, got Lift"):
        load_windows(dataset, DataConfig(low_dim_keys=KEYS), env_name="PickPlaceCan")


def test_images_stay_uint8_and_belong_to_their_state(dataset: Path) -> None:
    windows, _ = load_windows(dataset, DataConfig(low_dim_keys=KEYS, image_keys=("robot0_eye_in_hand_image",)))
    assert windows.images is not None
    with EpisodeReader(dataset) as reader:
        second = reader.read(reader.names[1])
    np.testing.assert_array_equal(windows.images[9:21, 0], second.observations["robot0_eye_in_hand_image"])
    np.testing.assert_allclose(windows.state[9:21, :3], second.observations["robot0_eef_pos"], rtol=1e-6)


def test_quaternions_lie_in_the_hemisphere_of_a_hand_that_points_down(dataset: Path) -> None:
    windows, _ = load_windows(dataset, DataConfig(low_dim_keys=KEYS))
    assert (windows.state[:, 3] > 0).all()


def test_state_vector_keeps_the_order_of_the_keys() -> None:
    observations = {"a": np.ones((2, 1)), "b": np.zeros((2, 2))}
    np.testing.assert_array_equal(state_vector(observations, ["b", "a"]), [[0, 0, 1], [0, 0, 1]])


def test_held_out_episodes_are_the_last_ones(dataset: Path) -> None:
    windows, validation = load_windows(dataset, DataConfig(low_dim_keys=KEYS, validation_episodes=2))
    assert validation is not None
    assert (len(windows), len(validation)) == (42, 18)


def test_holding_out_everything_is_refused(dataset: Path) -> None:
    with pytest.raises(DataError, match="wanted more than 6 episodes, got 6: .* --set data.validation_episodes=1"):
        load_windows(dataset, DataConfig(low_dim_keys=KEYS, validation_episodes=6))


def test_a_missing_observation_is_named(dataset: Path) -> None:
    with pytest.raises(DataError, match="frontview_image"):
        load_windows(dataset, DataConfig(low_dim_keys=KEYS, image_keys=("frontview_image",)))


def test_the_hash_changes_with_the_file(tmp_path: Path) -> None:
    for name, value in (("a", 0), ("b", 1)):
        with h5py.File(tmp_path / name, "w") as file:
            file["x"] = value
    assert file_sha256(tmp_path / "a") != file_sha256(tmp_path / "b")
    assert len(file_sha256(tmp_path / "a")) == 64
