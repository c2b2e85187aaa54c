"""Reads a YAML file that a user wrote: whatever it holds, the answer is its content or one line that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from d2ppo_core.errors import ConfigError


def read_yaml(path: Path) -> Any:
    """Return what a file holds.

    Raises:
        ConfigError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ConfigError(f"{path}: not a YAML file: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date as 2024-13-45
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
