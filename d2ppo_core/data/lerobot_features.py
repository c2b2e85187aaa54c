"""What of a robomimic demonstration goes into a LeRobot dataset, under which names, and what is left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.episode import Episode, is_picture
from d2ppo_core.data.hdf5 import clean
from d2ppo_core.data.video import CODEC, PIXEL_FORMAT
from d2ppo_core.errors import DataError

STATE, ENVIRONMENT, ACTION = "observation.state", "observation.environment_state", "action"
CAMERA = "observation.images."
_FIRST = ("eef_pos", "eef_quat", "gripper_qpos")
"""Of a robot's observations, before whatever else it reports."""
_DELTA = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")


@dataclass(frozen=True)
class Layout:
    """Observations of a file by what becomes of them; the first demonstration decides, all others have to follow."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of one step of each observation that goes along."""
    state: tuple[str, ...]
    """Numbers of the robots, in the order in which they are joined."""
    cameras: Mapping[str, str]
    """Feature -> observation."""
    left_out: Mapping[str, str]
    """Observation -> reason."""
    action_names: tuple[str, ...]

    @classmethod
    def of(cls, episode: Episode, place: str, *, deltas: bool) -> Layout:
        """Of a file whose first demonstration this is; `deltas` tells whether its actions are.

        Raises DataError where no robot is observed.
        """
        reasons = {key: _left_out(key, values) for key, values in episode.observations.items()}
        kept = {key: values for key, values in episode.observations.items() if not reasons[key]}
        cameras: dict[str, str] = {}
        for key in [key for key, values in kept.items() if values.ndim == 4]:
            feature = CAMERA + key.removesuffix("_image")
            if feature in cameras:
                reasons[key] = f"{feature} is {cameras[feature]} already"
                del kept[key]
            else:
                cameras[feature] = key
        state = tuple(sorted((key for key in kept if key.startswith("robot") and kept[key].ndim == 2), key=_rank))
        if not state:
            found = ", ".join(map(clean, episode.observations)) or "none"
            raise DataError(f"{place}: wanted observations of a robot, got {found}")
        return cls(
            shapes={key: values.shape[1:] for key, values in kept.items()},
            state=state,
            cameras=cameras,
            left_out={clean(key): reason for key, reason in reasons.items() if reason},
            action_names=_action_names(episode.actions.shape[1], deltas=deltas),
        )

    def check(self, episode: Episode, place: str) -> None:
        """Raise DataError where a demonstration has not what the first one has."""
        for key, shape in self.shapes.items():
            if key not in episode.observations:
                raise DataError(f"{place} lacks the observation {key}, which the first demonstration has")
            if (got := episode.observations[key].shape[1:]) != shape:
                raise DataError(f"{place}/obs/{key}: wanted {shape} per step as in the first demonstration, got {got}")
        if episode.actions.shape[1] != len(self.action_names):
            wanted = len(self.action_names)
            raise DataError(
                f"{place}: wanted actions of {wanted} numbers as in the first demonstration, "
                f"got {episode.actions.shape[1]}"
            )

    def columns(self, episode: Episode, actions: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What an episode contributes to the table, but for the counters: name -> (T, D)."""
        state = np.concatenate([episode.observations[key] for key in self.state], axis=1)
        columns: dict[str, NDArray[Any]] = {STATE: state.astype(np.float32)}
        if "object" in self.shapes:
            columns[ENVIRONMENT] = episode.observations["object"].astype(np.float32)
        columns[ACTION] = actions.astype(np.float32)
        columns["next.reward"] = episode.rewards.astype(np.float32)[:, None]
        columns["next.done"] = (np.arange(len(episode)) == len(episode) - 1)[:, None]
        columns["next.success"] = (episode.dones > 0)[:, None]
        return columns

    def pictures(self, episode: Episode, place: str) -> dict[str, NDArray[np.uint8]]:
        """Feature -> (T, H, W, 3). Raises DataError where pictures leave the range that those of the first have."""
        return {
            feature: _as_bytes(episode.observations[key], f"{place}/obs/{key}") for feature, key in self.cameras.items()
        }

    def features(
        self,
        columns: Mapping[str, NDArray[Any]],
        pictures: Mapping[str, NDArray[np.uint8]],
        rate_hz: float,
    ) -> dict[str, dict[str, Any]]:
        """The description of all columns and videos for `info.json`."""
        names: dict[str, list[str]] = {
            STATE: [f"{key}_{i}" for key in self.state for i in range(self.shapes[key][0])],
            ACTION: list(self.action_names),
        }
        if ENVIRONMENT in columns:
            names[ENVIRONMENT] = [f"object_{i}" for i in range(columns[ENVIRONMENT].shape[1])]
        features: dict[str, dict[str, Any]] = {
            key: {"dtype": str(values.dtype), "shape": [values.shape[1]], "names": names.get(key)}
            for key, values in columns.items()
        }
        for key, values in pictures.items():
            features[key] = _video(values.shape[1:], rate_hz)
        counters = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
        for key, dtype in {**counters, "task_index": "int64"}.items():
            features[key] = {"dtype": dtype, "shape": [1], "names": None}
        return features


def whole(rate_hz: float) -> float:
    """A rate as `info.json` has it: a whole number where it is one, as LeRobot's own tools write it."""
    return round(rate_hz) if rate_hz == round(rate_hz) else rate_hz


def _left_out(key: str, values: NDArray[Any]) -> str:
    """Why an observation is not exported; empty where it is."""
    if values.dtype.kind not in "biuf":
        return "words"
    if is_picture(values) or (values.ndim == 4 and values.shape[-1] == 3 and values.dtype.kind == "f"):
        if not min(values.shape[1:3]) or any(side % 2 for side in values.shape[1:3]):
            return f"pictures of {values.shape[2]} x {values.shape[1]} pixels; a video wants even sides"
        inside = values.dtype == np.uint8 or (values.min() >= 0.0 and values.max() <= 1.0)
        return "" if inside else f"colours from {values.min():.3g} to {values.max():.3g}, not 0 to 1"
    if values.ndim != 2 or not values.shape[1]:
        return f"{values.dtype} of shape {values.shape[1:]}: neither numbers (D) nor colour pictures (H, W, 3)"
    if key != "object" and not key.startswith("robot"):
        return "numbers that are neither a robot's nor called `object`"
    return ""


def _as_bytes(values: NDArray[Any], place: str) -> NDArray[np.uint8]:
    """Pictures of 8 bits; colours between 0 and 1 are rounded to them."""
    if is_picture(values):
        return values
    if not (values.dtype.kind == "f" and values.min() >= 0.0 and values.max() <= 1.0):
        raise DataError(f"{place}: wanted colours from 0 to 1 as in the first demonstration, got {values.dtype}")
    return np.rint(values * 255.0).astype(np.uint8)


def _rank(key: str) -> tuple[str, int, str]:
    """Proprioception in robomimic's order of importance, then whatever else the robots report."""
    robot, _, name = key.partition("_")
    return robot, _FIRST.index(name) if name in _FIRST else len(_FIRST), key


def _action_names(size: int, *, deltas: bool) -> tuple[str, ...]:
    if not deltas:
        return tuple(f"action_{i}" for i in range(size))
    return tuple(f"robot{i // len(_DELTA)}_{_DELTA[i % len(_DELTA)]}" for i in range(size))


def _video(shape: tuple[int, ...], rate_hz: float) -> dict[str, Any]:
    height, width, channels = shape
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": CODEC,
        "video.pix_fmt": PIXEL_FORMAT,
        "video.is_depth_map": False,
        "is_depth_map": False,  # the same in newer versions
        "video.fps": whole(rate_hz),
        "video.channels": channels,
        "has_audio": False,
    }
    return {
        "dtype": "video",
        "shape": [height, width, channels],
        "names": ["height", "width", "channels"],
        "info": info,
    }
