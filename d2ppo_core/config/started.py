"""What the command line of a run said, kept in its folder, so that `--resume` need not say it again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from d2ppo_core.config.load import from_mapping, to_mapping
from d2ppo_core.errors import ConfigError

FILE_NAME = "started.yaml"


@dataclass(frozen=True, kw_only=True)
class Started:
    """One call of `d2ppo pretrain` or `d2ppo finetune`."""

    config: str = ""
    """Shipped name, or path of the file; empty for a run from before this was kept."""
    overrides: tuple[str, ...] = ()
    """In the order in which they were given; later ones win."""
    data: str = ""
    """Absolute path of the dataset; of the second stage that of the pre-training's folder."""

    @property
    def data_path(self) -> Path | None:
        """The same as a path; None where it is not known."""
        return Path(self.data) if self.data else None

    def at(self, data: Path) -> Started:
        """The same with its data where it lies now."""
        return replace(self, data=os.path.abspath(data))

    def again(self, config: str | None, overrides: tuple[str, ...]) -> Started:
        """The same with what a later call adds."""
        return replace(self, config=config or self.config, overrides=(*self.overrides, *overrides))

    def save(self, folder: Path) -> None:
        """Keep it in the run's folder. Raises OSError where that cannot be written."""
        text = yaml.safe_dump(to_mapping(self), sort_keys=False, allow_unicode=True)
        (folder / FILE_NAME).write_text(text, encoding="utf-8")


def read_started(folder: Path) -> Started:
    """What a run was started with; nothing is known of a folder without the file. Raises ConfigError when damaged."""
    path = folder / FILE_NAME
    if not path.is_file():
        return Started()
    try:
        return from_mapping(Started, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable ({' '.join(str(error).split())}); delete it and name all") from error
