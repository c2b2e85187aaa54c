"""All training windows of a dataset in memory: one observation and the action chunk that starts there.

Chunks that reach over the end of their episode are filled by *holding*: zero motion (goals: the last one), gripper as
it was last. That is what the arm should do once the task is solved, and it keeps every frame in use. Or they are
dropped, by choice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from d2ppo_core.config import DataConfig
from d2ppo_core.data.checks import check_episodes
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.image_fit import fit_of
from d2ppo_core.data.representation import actions_of, keys_of
from d2ppo_core.errors import DataError
from d2ppo_core.geometry import canonical_quat_xyzw
from d2ppo_core.representations import OSC_DELTA, SIZES


@dataclass(frozen=True, kw_only=True)
class Windows:
    """N windows; every frame of every episode starts one."""

    state: npt.NDArray[np.float32]
    """(N, Ds) raw units, low-dimensional observations in the order of the configuration."""
    chunks: npt.NDArray[np.float32]
    """(N, Tp, Da) raw actions."""
    images: npt.NDArray[np.uint8] | None
    """(N, Ncam, H, W, 3), fitted to the network, or None."""
    low_dim_sizes: tuple[int, ...]
    """Size of each low-dimensional observation, in order."""
    num_episodes: int
    camera_hw: tuple[int, int] = (0, 0)
    """Height and width of the file's pictures."""

    def __post_init__(self) -> None:
        """Raise DataError when the arrays differ in length."""
        lengths = {len(self.state), len(self.chunks)} | ({len(self.images)} if self.images is not None else set())
        if len(lengths) != 1:
            raise DataError(f"wanted arrays of equal length, got {sorted(lengths)}")

    def __len__(self) -> int:
        """Number of windows N."""
        return len(self.state)


def chunk_actions(
    actions: npt.ArrayLike, lengths: Sequence[int], pred_horizon: int, representation: str = OSC_DELTA
) -> npt.NDArray[np.float32]:
    """Gather the chunk starting at every frame, by one indexing operation.

    Args:
        actions: (N, Da) of all episodes back to back, Da a multiple of one arm's numbers (gripper last).
        lengths: frames per episode, summing to N.
        pred_horizon: Tp.
        representation: what the numbers mean.

    Returns:
        (N, Tp, Da); entries behind the end of the episode hold.
    """
    flat, per_arm = np.asarray(actions, dtype=np.float32), SIZES[representation]
    if sum(lengths) != len(flat) or flat.shape[1] % per_arm:
        raise DataError(f"wanted {sum(lengths)} actions of a multiple of {per_arm} numbers, got {flat.shape}")
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    wanted = np.arange(len(flat))[:, None] + np.arange(pred_horizon)
    chunks = flat[np.minimum(wanted, last[:, None])]
    if representation == OSC_DELTA:
        moving = np.arange(flat.shape[1]) % per_arm != per_arm - 1
        chunks[(wanted > last[:, None])[..., None] & moving] = 0.0
    return np.asarray(chunks, dtype=np.float32)


def state_vector(observations: dict[str, npt.NDArray[Any]], keys: Sequence[str]) -> npt.NDArray[np.float32]:
    """Concatenate low-dimensional observations (T, D) to (T, Ds), quaternions made sign-canonical.

    Raises DataError when one of them is no (T, D).
    """
    for key in keys:
        if observations[key].ndim != 2:
            raise DataError(f"{key}: wanted numbers (T, D), got {observations[key].shape}")
    parts = [canonical_quat_xyzw(observations[k]) if k.endswith("_quat") else observations[k] for k in keys]
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts], axis=1)


def whole_chunks(lengths: Sequence[int], pred_horizon: int) -> npt.NDArray[np.bool_]:
    """(N,) whether the chunk that starts at each frame ends within its episode."""
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(sum(lengths))
    return np.asarray(left >= pred_horizon)


def make_windows(episodes: Sequence[Episode], config: DataConfig, *, fit: bool = True) -> Windows:
    """Join episodes in memory, pictures fitted to the network or as the camera gave them.

    Raises DataError when there are none, or when pictures are no (H, W, 3) uint8, differ in size or cannot be fitted.
    """
    if not episodes:
        raise DataError("the dataset holds no episode")
    states = [state_vector(dict(e.observations), config.low_dim_keys) for e in episodes]
    lengths = [len(e) for e in episodes]
    targets = np.concatenate([actions_of(e, config) for e in episodes])
    chunks = chunk_actions(targets, lengths, config.pred_horizon, config.action_representation)
    state = np.concatenate(states)
    images, camera_hw = _join_images(episodes, config, fit=fit)
    if config.tails == "drop":
        kept = whole_chunks(lengths, config.pred_horizon)
        if not kept.any():
            raise DataError(
                f"no episode is as long as a chunk of {config.pred_horizon} actions; longest {max(lengths)}"
            )
        state, chunks, images = state[kept], chunks[kept], None if images is None else images[kept]
    first = episodes[0].observations
    return Windows(
        state=state,
        chunks=chunks,
        images=images,
        low_dim_sizes=tuple(int(first[key].shape[1]) for key in config.low_dim_keys),
        num_episodes=len(episodes),
        camera_hw=camera_hw,
    )


def _join_images(
    episodes: Sequence[Episode], config: DataConfig, *, fit: bool
) -> tuple[npt.NDArray[np.uint8] | None, tuple[int, int]]:
    """(N, Ncam, H, W, 3) and the size of the file's pictures (height, width); (None, (0, 0)) without cameras."""
    sizes: dict[tuple[int, int], str] = {}
    cameras = []
    for key in config.image_keys:
        parts = []
        for number, episode in enumerate(episodes):
            pictures = episode.observations[key]
            if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
                raise DataError(f"{key}: wanted uint8 (T, H, W, 3), got {pictures.dtype} {pictures.shape}")
            camera_hw = (int(pictures.shape[1]), int(pictures.shape[2]))
            sizes.setdefault(camera_hw, f"{key} of episode {number}")
            parts.append(fit_of(config, camera_hw).apply(pictures) if fit else pictures)
        cameras.append(parts)
    if len(sizes) > 1:
        found = ", ".join(f"{height}x{width} ({where})" for (height, width), where in sizes.items())
        raise DataError(f"wanted pictures of one size (height x width), got {found}; record them alike")
    if not cameras:
        return None, (0, 0)
    joined = [np.concatenate(parts) for parts in cameras]
    return (joined[0][:, None] if len(joined) == 1 else np.stack(joined, axis=1)), next(iter(sizes))


def load_windows(
    path: Path, config: DataConfig, *, env_name: str | None = None, fit: bool = True
) -> tuple[Windows, Windows | None]:
    """Read a robomimic HDF5 file for training and validation.

    Validation takes the subset `validation_filter_key` where the configuration names one, else the last
    `validation_episodes` demonstrations, else it is None.

    Args:
        path: The file.
        config: What to read.
        env_name: robosuite's name of the task that the file must hold; None accepts any.
        fit: Pictures as the network sees them; False: as the camera gave them.

    Raises:
        DataError: The file is missing or damaged, of another task, lacks a key or holds too few episodes.
    """
    with EpisodeReader(path, env_name=env_name, filter_key=config.filter_key or None) as reader:
        names = reader.names[: config.max_episodes or None]
        if len(names) <= config.validation_episodes:
            raise DataError(
                f"{path}: wanted more than {config.validation_episodes} episodes, got {len(names)}: so many are held "
                f"out for validation; record more, or hold fewer out: --set data.validation_episodes={len(names) // 5}"
            )
        keys = keys_of(config)
        episodes = [reader.read(name, keys=keys) for name in names]
        check_episodes(reader, names, episodes, config)
    held_out = episodes[len(episodes) - config.validation_episodes :]
    if config.validation_filter_key:
        with EpisodeReader(path, filter_key=config.validation_filter_key) as reader:
            held_out = list(reader.episodes(keys=keys))
            check_episodes(reader, reader.names, held_out, config)
    validation = make_windows(held_out, config, fit=fit) if held_out else None
    return make_windows(episodes[: len(episodes) - config.validation_episodes], config, fit=fit), validation


def file_sha256(path: Path) -> str:
    """Hash of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
