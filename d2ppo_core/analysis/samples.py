"""Windows drawn from the training data of a run, with where in which episode they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from d2ppo_core.data.episodes import EpisodeReader
from d2ppo_core.data.representation import keys_of
from d2ppo_core.data.tasks import env_name_of
from d2ppo_core.data.windows import Windows, make_windows, whole_chunks
from d2ppo_core.errors import DataError
from d2ppo_core.pretrain.checkpoint import Checkpoint

_GRID = 8
"""Pictures are compared by the mean colours of so many rows and columns of tiles."""

Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """N windows in the order of the file."""

    state: Float32
    """(N, Ds), normalised as in training."""
    chunks: Float32
    """(N, Tp, Da), normalised as in training."""
    images: npt.NDArray[np.uint8] | None
    """(N, Ncam, H, W, 3)."""
    episode: Int
    """(N,) number of the episode."""
    progress: npt.NDArray[np.float64]
    """(N,) position in the episode, 0 at its first frame, 1 at its last."""
    available: int
    """Windows that the run trained on."""

    def __len__(self) -> int:
        """Number of windows N."""
        return len(self.state)

    def observation(self) -> npt.NDArray[np.float64]:
        """What the policy sees as one vector (N, Do): the state, and tile means of the pictures with equal weight."""
        state = self.state.astype(np.float64)
        if self.images is None:
            return state
        tiles = _tile_means(self.images)
        spread = tiles.var(0).sum()
        scale = np.sqrt(state.var(0).sum() / spread) if spread > 0 else 1.0
        return np.concatenate([state, scale * tiles], axis=1)


def _tile_means(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """uint8 (N, Ncam, H, W, 3) -> (N, Ncam * 8 * 8 * 3) in [-1, 1]; H and W multiples of 8, as the encoder has it."""
    count, cameras, height, width, colours = images.shape
    tiles = images.reshape(count, cameras, _GRID, height // _GRID, _GRID, width // _GRID, colours)
    return np.asarray(tiles.mean(axis=(3, 5)).reshape(count, -1) / 127.5 - 1)


def draw_sample(path: Path, saved: Checkpoint, *, size: int, seed: int) -> Sample:
    """Draw windows of a run's training data without replacement; all of them where there are no more than `size`.

    Raises DataError when the file is missing, damaged or of another task, or its observations have another layout.
    """
    config = saved.config.data
    with EpisodeReader(path, env_name=env_name_of(saved.config.task), filter_key=config.filter_key or None) as reader:
        names = reader.names[: config.max_episodes or None]
        names = names[: len(names) - config.validation_episodes]
        starts = [_starts(len(reader.read(name, keys=[])), saved) for name in names]
        available = sum(len(s) for s in starts)
        if available < 2:
            raise DataError(f"{path}: wanted at least two windows, got {available}")
        picks = np.random.default_rng(seed).permutation(available)[:size]
        parts, episode, progress = [], [], []
        for number, (name, first) in enumerate(zip(names, _offsets(starts), strict=True)):
            frames = starts[number][np.sort(picks[(picks >= first) & (picks < first + len(starts[number]))] - first)]
            if not len(frames):
                continue
            whole = reader.read(name, keys=keys_of(config))
            parts.append(_take(make_windows([whole], replace(config, tails="hold")), frames))
            episode.append(np.full(len(frames), number, dtype=np.int64))
            progress.append(frames / max(1, len(whole) - 1))
    return _join(parts, np.concatenate(episode), np.concatenate(progress), available, saved, path)


def _starts(length: int, saved: Checkpoint) -> Int:
    """Frames of an episode at which a window starts."""
    data = saved.config.data
    if data.tails == "drop":
        return np.flatnonzero(whole_chunks([length], data.pred_horizon))
    return np.arange(length)


def _offsets(starts: Sequence[Int]) -> list[int]:
    return [0, *np.cumsum([len(s) for s in starts])[:-1].tolist()]


def _take(windows: Windows, frames: Int) -> Windows:
    images = None if windows.images is None else windows.images[frames]
    return replace(windows, state=windows.state[frames], chunks=windows.chunks[frames], images=images)


def _join(
    parts: Sequence[Windows],
    episode: Int,
    progress: npt.NDArray[np.float64],
    available: int,
    saved: Checkpoint,
    path: Path,
) -> Sample:
    state, chunks = np.concatenate([p.state for p in parts]), np.concatenate([p.chunks for p in parts])
    images = [p.images for p in parts if p.images is not None]
    shapes = saved.shapes
    wanted = (shapes.state_dim, shapes.action_dim, (shapes.num_cameras, *shapes.image_hw))
    got = (state.shape[1], chunks.shape[2], images[0].shape[1:4] if images else (0, 0, 0))
    if wanted != got:
        raise DataError(f"{path}: wanted sizes (state, action, (cameras, height, width)) {wanted}, got {got}")
    return Sample(
        state=saved.normalizer.state.normalize(state),
        chunks=saved.normalizer.action.normalize(chunks),
        images=np.concatenate(images) if images else None,
        episode=episode,
        progress=progress,
        available=available,
    )
