"""Whether a file's actions are the deltas that this package learns and plays: 7 numbers per arm, each a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from d2ppo_core.data.reader import EpisodeReader
from d2ppo_core.errors import DataError
from d2ppo_core.representations import OSC_DELTA, SIZES

_CURE = "take the file with deltas; data.action_representation=ee_absolute makes goals of them itself"


def why_no_deltas(reader: EpisodeReader, width: int) -> str:
    """Why actions of `width` numbers of this file are no deltas, in words; empty where they may be."""
    per_arm = SIZES[OSC_DELTA]
    if not width or width % per_arm:
        return (
            f"actions of {width} numbers; wanted {per_arm} per arm (motion and turn in x, y, z, gripper), as the "
            f"controller OSC_POSE takes them: {_CURE}"
        )
    if any(_is_absolute(settings) for settings in _mappings(reader.env_kwargs.get("controller_configs"))):
        return f"the controller took absolute goals (env_args: controller_configs); wanted deltas: {_CURE}"
    return ""


def check_deltas(reader: EpisodeReader, name: str, width: int) -> None:
    """Raise DataError where actions of `width` numbers, those of demonstration `name`, are no deltas."""
    if reason := why_no_deltas(reader, width):
        raise DataError(f"{reader.path}: {name}: {reason}")


def _is_absolute(settings: dict[str, Any]) -> bool:
    """Version 1.4 of robosuite says so by `control_delta`, 1.5 by `input_type`, both per controller of a pose."""
    if not str(settings.get("type", "")).startswith("OSC_"):
        return False
    return settings.get("control_delta") is False or settings.get("input_type") == "absolute"


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings within nested mappings and lists, itself included."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(item)
