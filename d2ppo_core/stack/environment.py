"""The environment variables that every process of a stack shares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.description import StackDescription
from d2ppo_core.stack.starter import STARTER

FASTDDS_PROFILE = Path(__file__).with_name("fastdds.xml")
"""Shared memory large enough for camera images; the default segment loses three frames out of four."""

DEFAULTS = {
    "FASTRTPS_DEFAULT_PROFILES_FILE": str(FASTDDS_PROFILE),
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
}
MAX_DOMAIN_ID = 101
"""Above it, DDS ports reach into the range that Linux gives to outgoing connections."""


def stack_environment(
    description: StackDescription, *, domain_id: int | None = None, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of the stack's processes; they belong to this process and end with it.

    Args:
        description: its ``environment`` stands above the defaults and below what ``base`` sets.
        domain_id: ROS_DOMAIN_ID in [0, 101]; None keeps what ``base`` sets.
        base: the environment to start from, default this process's.

    Raises:
        ConfigError: ``domain_id`` is out of range.
    """
    environment = {**DEFAULTS, **description.environment, **(os.environ if base is None else base)}
    if domain_id is not None:
        if not 0 <= domain_id <= MAX_DOMAIN_ID:
            raise ConfigError(f"ROS_DOMAIN_ID must be in [0, {MAX_DOMAIN_ID}], got {domain_id}")
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    environment[STARTER] = str(os.getpid())
    return environment
