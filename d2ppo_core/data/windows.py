"""All training windows of a dataset in memory: one observation and the action chunk that starts there.

Chunks that reach over the end of their episode are filled by *holding*: zero motion, gripper as it was last. That is
what the arm should do once the task is solved, and it keeps every frame in use.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.config import DataConfig
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.errors import DataError
from d2ppo_core.geometry import canonical_quat_xyzw

ACTIONS_PER_ARM = 7
GRIPPER_INDEX = 6


@dataclass(frozen=True, kw_only=True)
class Windows:
    """N windows; every frame of every episode starts one."""

    state: npt.NDArray[np.float32]
    """(N, Ds) raw units, low-dimensional observations in the order of the configuration."""
    chunks: npt.NDArray[np.float32]
    """(N, Tp, Da) raw actions."""
    images: npt.NDArray[np.uint8] | None
    """(N, Ncam, H, W, 3) or None."""
    low_dim_sizes: tuple[int, ...]
    """Size of each low-dimensional observation, in order."""
    num_episodes: int

    def __post_init__(self) -> None:
        lengths = {len(self.state), len(self.chunks)} | ({len(self.images)} if self.images is not None else set())
        if len(lengths) != 1:
            raise DataError(f"wanted arrays of equal length, got {sorted(lengths)}")

    def __len__(self) -> int:
        """Number of windows N."""
        return len(self.state)


def chunk_actions(actions: npt.ArrayLike, lengths: Sequence[int], pred_horizon: int) -> npt.NDArray[np.float32]:
    """Gather the chunk starting at every frame, by one indexing operation.

    Args:
        actions: (N, Da) of all episodes back to back, Da a multiple of 7 (gripper last).
        lengths: frames per episode, summing to N.
        pred_horizon: Tp.

    Returns:
        (N, Tp, Da); entries behind the end of the episode hold.
    """
    flat = np.asarray(actions, dtype=np.float32)
    if sum(lengths) != len(flat) or flat.shape[1] % ACTIONS_PER_ARM:
        raise DataError(f"wanted {sum(lengths)} actions of a multiple of 7 numbers, got {flat.shape}")
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    wanted = np.arange(len(flat))[:, None] + np.arange(pred_horizon)
    chunks = flat[np.minimum(wanted, last[:, None])]
    moving = np.arange(flat.shape[1]) % ACTIONS_PER_ARM != GRIPPER_INDEX
    chunks[(wanted > last[:, None])[..., None] & moving] = 0.0
    return np.asarray(chunks, dtype=np.float32)


def state_vector(observations: dict[str, npt.NDArray[Any]], keys: Sequence[str]) -> npt.NDArray[np.float32]:
    """Concatenate low-dimensional observations (T, …) to (T, Ds), quaternions made sign-canonical."""
    parts = [canonical_quat_xyzw(observations[k]) if k.endswith("_quat") else observations[k] for k in keys]
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts], axis=1)


def make_windows(episodes: Sequence[Episode], config: DataConfig) -> Windows:
    """Join episodes in memory. Raises DataError when there are none or an image is no (H, W, 3) uint8."""
    if not episodes:
        raise DataError("the dataset holds no episode")
    states = [state_vector(dict(e.observations), config.low_dim_keys) for e in episodes]
    images = None
    if config.image_keys:
        cameras = [np.concatenate([e.observations[key] for e in episodes]) for key in config.image_keys]
        for key, camera in zip(config.image_keys, cameras, strict=True):
            if camera.dtype != np.uint8 or camera.ndim != 4 or camera.shape[-1] != 3:
                raise DataError(f"{key}: wanted uint8 (T, H, W, 3), got {camera.dtype} {camera.shape}")
        images = cameras[0][:, None] if len(cameras) == 1 else np.stack(cameras, axis=1)
    first = episodes[0].observations
    return Windows(
        state=np.concatenate(states),
        chunks=chunk_actions(
            np.concatenate([e.actions for e in episodes]), [len(e) for e in episodes], config.pred_horizon
        ),
        images=images,
        low_dim_sizes=tuple(int(first[key].shape[1]) for key in config.low_dim_keys),
        num_episodes=len(episodes),
    )


def load_windows(path: Path, config: DataConfig) -> tuple[Windows, Windows | None]:
    """Read a robomimic HDF5 file; the last `validation_episodes` demonstrations become the second result.

    Raises DataError when the file is missing or damaged, lacks a key or holds too few episodes.
    """
    with EpisodeReader(path) as reader:
        names = reader.names[: config.max_episodes or None]
        if len(names) <= config.validation_episodes:
            raise DataError(f"{path}: wanted more than {config.validation_episodes} episodes, got {len(names)}")
        keys = [*config.low_dim_keys, *config.image_keys]
        episodes = [reader.read(name, keys=keys) for name in names]
    split = len(episodes) - config.validation_episodes
    validation = make_windows(episodes[split:], config) if config.validation_episodes else None
    return make_windows(episodes[:split], config), validation


def file_sha256(path: Path) -> str:
    """Hash of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
