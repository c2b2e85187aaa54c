"""Export to LeRobot's dataset format v3.0: Parquet tables, one MP4 stream per camera, and their descriptions.

    meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet,
    data/chunk-000/file-000.parquet, videos/<camera key>/chunk-000/file-000.mp4

Episodes lie back to back in few large files; a new file begins when one has reached its limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.deltas import why_no_deltas
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.lerobot_features import Layout, whole
from d2ppo_core.data.statistics import Stats, joined_stats, picture_stats, vector_stats
from d2ppo_core.data.tasks import task_of_env
from d2ppo_core.data.video import VideoWriter
from d2ppo_core.errors import DataError
from d2ppo_core.output import writing_folder

FORMAT_VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_FILE_MIB, VIDEO_FILE_MIB = 100, 200
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
INSTRUCTIONS: Mapping[str, str] = {
    "lift": "Lift the cube.",
    "can": "Place the can into its bin.",
    "square": "Fit the square nut onto the square peg.",
    "transport": "Clear the target bin and hand the hammer over into it.",
}
_LARGEST_HZ = 1000
"""As fast as a robot's own controller."""
_KEYFRAME_EVERY = 2
"""LeRobot reads frames in any order."""


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was written."""

    episodes: int
    frames: int
    cameras: tuple[str, ...]
    left_out: Mapping[str, str]
    """Observations that are not in the dataset, and why."""


def export_lerobot(
    source: Path,
    out: Path,
    *,
    action_target: str = "expert",
    instruction: str | None = None,
    on_episode: Callable[[int, int], None] = lambda done, total: None,
) -> ExportSummary:
    """Write a robomimic file as a LeRobot dataset.

    `observation.state` holds what the robots feel (keys `robot…`), `observation.environment_state` the key `object`,
    both concatenated in the order of their names in `info.json`; pictures become H.264. What else a file observes is
    left out, and the summary says so.

    Args:
        source: robomimic HDF5 file, ours or a public one.
        out: Folder of the dataset; must not exist. It appears when it is complete.
        action_target: `expert` exports what was meant, `executed` what the controller got.
        instruction: The task in words; None takes a sentence of ours or the environment's name.
        on_episode: Called after each episode with the number done and the number of all.

    Raises:
        DataError: `out` exists, the source cannot be read, lacks observations or holds numbers that are not finite, or
            pyarrow is missing.
        OutputError: `out` cannot be written.
    """
    if out.exists():
        raise DataError(f"{out} exists already; choose another folder")
    with EpisodeReader(source) as reader:
        task, rate_hz = task_of_env(reader.env_name), _control_hz(reader)
        first = reader.read(reader.names[0])
        deltas = not why_no_deltas(reader, first.actions.shape[1])
        layout = Layout.of(first, f"{source}: {reader.names[0]}", deltas=deltas)
        with writing_folder(out, "new dataset") as folder:
            export = _Export(folder, layout, rate_hz=rate_hz, instruction=instruction or INSTRUCTIONS.get(task, task))
            try:
                for number, (name, episode) in enumerate(zip(reader.names, reader.episodes(), strict=True), start=1):
                    actions = episode.labels if action_target == "expert" else episode.actions
                    export.add(episode, actions, f"{source}: {name}")
                    on_episode(number, len(reader))
                export.finish()
            finally:
                export.close()
    return ExportSummary(
        episodes=len(export.rows), frames=export.frames, cameras=tuple(export.videos), left_out=layout.left_out
    )


class _Roll:
    """Numbers the files of one stream and starts a new one when the present has grown enough."""

    def __init__(self, limit_mib: int) -> None:
        self.index = 0
        self._limit_bytes = limit_mib * 2**20

    @property
    def place(self) -> dict[str, int]:
        return {"chunk_index": self.index // FILES_PER_CHUNK, "file_index": self.index % FILES_PER_CHUNK}

    def is_full(self, path: Path) -> bool:
        full = path.exists() and path.stat().st_size >= self._limit_bytes
        self.index += full
        return full


class _CameraStream:
    """The videos of one camera."""

    def __init__(self, root: Path, key: str, fps: float, shape: tuple[int, ...]) -> None:
        self.key, self.shape = key, shape
        self._root, self._fps, self._roll = root, fps, _Roll(VIDEO_FILE_MIB)
        self._writer: VideoWriter | None = None

    def add(self, pictures: NDArray[np.uint8]) -> dict[str, float]:
        """Append an episode; returns where it lies."""
        if self._writer is None or self._roll.is_full(self._writer.path):
            self.close()
            path = self._root / VIDEO_PATH.format(video_key=self.key, **self._roll.place)
            height, width, _ = self.shape
            self._writer = VideoWriter(path, width=width, height=height, fps=self._fps, keyframe_every=_KEYFRAME_EVERY)
        first = self._writer.num_frames
        for picture in pictures:
            self._writer.append(picture)
        span = {"from_timestamp": first / self._fps, "to_timestamp": self._writer.num_frames / self._fps}
        return self._roll.place | span

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Export:
    """A dataset that is being written, episode by episode."""

    def __init__(self, root: Path, layout: Layout, *, rate_hz: float, instruction: str) -> None:
        self._arrow, self._parquet = _pyarrow()
        self._root, self._layout, self._fps, self._instruction = root, layout, rate_hz, instruction
        self._roll, self._table_path = _Roll(DATA_FILE_MIB), root
        self._table_writer: Any = None
        self.rows: list[dict[str, Any]] = []
        self.frames = 0
        self.videos: dict[str, _CameraStream] = {}
        self.features: dict[str, dict[str, Any]] = {}
        self._stats: dict[str, list[Stats]] = {}

    def add(self, episode: Episode, actions: NDArray[np.float64], place: str) -> None:
        """Append one episode, called `place` in messages, to tables and videos."""
        self._layout.check(episode, place)
        columns, pictures = self._layout.columns(episode, actions), self._layout.pictures(episode, place)
        if not self.features:
            self.features = self._layout.features(columns, pictures, self._fps)
            self.videos = {
                key: _CameraStream(self._root, key, self._fps, values.shape[1:]) for key, values in pictures.items()
            }
        steps, number = np.arange(len(episode)), len(self.rows)
        columns |= {
            "timestamp": (steps / self._fps).astype(np.float32)[:, None],
            "frame_index": steps[:, None],
            "episode_index": np.full((len(episode), 1), number),
            "index": (self.frames + steps)[:, None],
            "task_index": np.zeros((len(episode), 1), np.int64),
        }
        row = {"episode_index": number, "tasks": [self._instruction], "length": len(episode)}
        row |= {f"data/{key}": value for key, value in self._write_table(columns).items()}
        row |= {"dataset_from_index": self.frames, "dataset_to_index": self.frames + len(episode)}
        for key, stream in self.videos.items():
            row |= {f"videos/{key}/{name}": value for name, value in stream.add(pictures[key]).items()}
        stats = {key: vector_stats(values) for key, values in columns.items()}
        stats |= {key: picture_stats(values) for key, values in pictures.items()}
        for key, feature_stats in stats.items():
            self._stats.setdefault(key, []).append(feature_stats)
            row |= {f"stats/{key}/{name}": value.tolist() for name, value in feature_stats.items()}
        self.rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self.frames += len(episode)

    def finish(self) -> None:
        """Close all files and write the descriptions."""
        self.close()
        episodes_path = self._root / EPISODES_PATH
        episodes_path.parent.mkdir(parents=True)
        self._parquet.write_table(self._arrow.Table.from_pylist(self.rows), episodes_path)
        self._parquet.write_table(_tasks_table(self._arrow, self._instruction), self._root / "meta/tasks.parquet")
        stats = {key: joined_stats(parts) for key, parts in self._stats.items()}
        plain = {key: {name: value.tolist() for name, value in parts.items()} for key, parts in stats.items()}
        (self._root / "meta/stats.json").write_text(json.dumps(plain, indent=4, allow_nan=False), encoding="utf-8")
        (self._root / "meta/info.json").write_text(
            json.dumps(self._info(), indent=4, allow_nan=False), encoding="utf-8"
        )

    def _write_table(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Append an episode's rows as one row group; returns where it lies."""
        arrays = {key: _arrow_column(self._arrow, key, values, self.features) for key, values in columns.items()}
        table = self._arrow.table(arrays)
        if self._table_writer is None or self._roll.is_full(self._table_path):
            self._close_table()
            self._table_path = self._root / DATA_PATH.format(**self._roll.place)
            self._table_path.parent.mkdir(parents=True, exist_ok=True)
            self._table_writer = self._parquet.ParquetWriter(self._table_path, table.schema)
        self._table_writer.write_table(table)
        return self._roll.place

    def close(self) -> None:
        """Close all files; a second call does nothing."""
        for stream in self.videos.values():
            stream.close()
        self._close_table()

    def _close_table(self) -> None:
        if self._table_writer is not None:
            self._table_writer.close()
            self._table_writer = None

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": FORMAT_VERSION,
            "robot_type": "panda",
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_FILE_MIB,
            "video_files_size_in_mb": VIDEO_FILE_MIB,
            "fps": whole(self._fps),
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.videos else None,
            "features": self.features,
        }


def _arrow_column(arrow: ModuleType, key: str, values: NDArray[Any], features: Mapping[str, Any]) -> Any:
    """Scalars as plain columns, vectors as lists of fixed length."""
    flat = arrow.array(np.ascontiguousarray(values, dtype=features[key]["dtype"]).reshape(-1))
    return flat if values.shape[1] == 1 else arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _tasks_table(arrow: ModuleType, instruction: str) -> Any:
    """One task; its words are the table's index, which pandas finds in the schema's metadata."""
    table = arrow.table({"task_index": arrow.array([0], arrow.int64()), "task": arrow.array([instruction])})
    column = {"metadata": None, "field_name": "task_index", "name": "task_index"}
    column |= {"numpy_type": "int64", "pandas_type": "int64"}
    index = column | {"name": "task", "field_name": "task", "numpy_type": "object", "pandas_type": "unicode"}
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": [column, index], "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _control_hz(reader: EpisodeReader) -> float:
    value = reader.env_kwargs.get("control_freq", 20)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value <= _LARGEST_HZ:
        raise DataError(
            f"{reader.path}: env_args: control_freq must be a rate in Hz, at most {_LARGEST_HZ}, got {value!r}"
        )
    return float(value)


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError("LeRobot's tables want pyarrow: pip install 'd2ppo-panda[lerobot]'") from error
    return pyarrow, pyarrow.parquet
