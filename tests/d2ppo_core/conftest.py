"""A small dataset in robomimic's layout and a configuration that trains on it in a second."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.config import PretrainConfig, from_mapping
from d2ppo_core.data.episodes import Episode, EpisodeWriter

IMAGE_PX = 24


def synthetic_episode(length: int, seed: int, image_hw: tuple[int, int] = (IMAGE_PX, IMAGE_PX)) -> Episode:
    """Smooth motion towards a goal that is painted into the image."""
    rng = np.random.default_rng(seed)
    goal = rng.uniform(-0.1, 0.1, 3)
    position = np.cumsum(np.tile(goal / length, (length, 1)), axis=0)
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (length, 1)) + 0.05 * rng.normal(size=(length, 4))
    quat *= np.where(np.arange(length) % 2, -1.0, 1.0)[:, None] / np.linalg.norm(quat, axis=1, keepdims=True)
    actions = np.zeros((length, 7))
    actions[:, :3] = goal / 0.1
    actions[:, 6] = np.where(np.arange(length) < length // 2, -1.0, 1.0)
    images = np.full((length, *image_hw, 3), 128 + 1000 * goal, dtype=np.float64)
    images = (images + rng.uniform(-20, 20, images.shape)).clip(0, 255).astype(np.uint8)
    return Episode(
        actions=actions,
        rewards=np.zeros(length),
        dones=np.zeros(length, dtype=np.int64),
        states=np.zeros((length, 2)),
        observations={
            "robot0_eef_pos": position,
            "robot0_eef_quat": quat,
            "robot0_gripper_qpos": np.tile([0.02, -0.02], (length, 1)),
            "object": rng.normal(size=(length, 10)),
            "robot0_eye_in_hand_image": images,
        },
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six episodes of different length."""
    path = tmp_path_factory.mktemp("dataset") / "synthetic.hdf5"
    with EpisodeWriter(path, env_args={"env_name": "Lift"}) as writer:
        for index, length in enumerate((9, 12, 10, 11, 8, 10)):
            writer.append(synthetic_episode(length, index))
    return path


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """The same with pictures of another size."""

    def make(image_hw: tuple[int, int]) -> Path:
        path = tmp_path / "pictures_{}x{}.hdf5".format(*image_hw)
        with EpisodeWriter(path, env_args={"env_name": "Lift"}) as writer:
            for index, length in enumerate((9, 12, 10)):
                writer.append(synthetic_episode(length, index, image_hw))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., PretrainConfig]:
    """Build a configuration small enough for tests; keyword arguments replace entries of its sections."""

    def build(*, images: bool = False, seed: int = 0, **sections: dict[str, object]) -> PretrainConfig:
        mapping: dict[str, dict[str, object]] = {
            "data": {"image_keys": ["robot0_eye_in_hand_image"] if images else [], "random_shift_px": 2},
            "model": {"vit_width": 16, "vit_heads": 2, "camera_features": 8, "hidden_dim": 32, "time_dim": 8},
            "loss": {"noise_samples_per_obs": 2, "dispersive_tap": "encoder" if images else "early"},
            "optim": {
                "steps": 6,
                "batch_size": 8,
                "warmup_steps": 2,
                "log_every": 2,
                "ema_every": 2,
                "ema_start_step": 2,
            }
            | {"ema_decay": 0.9},
        }
        if images:
            mapping["data"]["low_dim_keys"] = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
        for name, values in sections.items():
            mapping[name] = {**mapping.get(name, {}), **values}
        return from_mapping(PretrainConfig, {"name": "tiny", "task": "lift", "seed": seed, **mapping})

    return build
