"""What holds for all runs of an experiment's folder; kept there, so that runs of different settings never mix."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d2ppo_core.config import from_mapping
from d2ppo_core.config.success import RESULT_SEEDS
from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.results import write_record

FILE_NAME = "experiment.json"
RESULTS = ("results.md", "results.csv", "results.png")
FIRST_SEED = RESULT_SEEDS.start
"""Of the episodes that policies are measured in; fine-tuning looks at others on its way."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one experiment's folder."""

    experiment: str
    out: str
    data: str = "data/{task}.hdf5"
    """Dataset; `{task}` stands for the task."""
    episodes: int = 200
    overrides: tuple[str, ...] = ()

    def dataset(self, task: str) -> Path:
        """Of one task."""
        return Path(self.data.replace("{task}", task))

    def command(self, *, tasks: Sequence[str], seeds: Sequence[int], cells: Sequence[str] = ()) -> str:
        """The command line that makes these runs."""
        words = ["d2ppo", "experiment", self.experiment]
        for option, values in (("--tasks", tasks), ("--cells", cells), ("--seeds", [str(seed) for seed in seeds])):
            words += [option, *values] if values else []
        if self.out != str(default_out(self.experiment)):
            words += ["--out", self.out]
        if self.data != Settings.data:
            words += ["--data", self.data]
        if self.episodes != Settings.episodes:
            words += ["--episodes", str(self.episodes)]
        for override in self.overrides:
            words += ["--set", override]
        return shlex.join(words)

    def save(self) -> None:
        """Keep them in the folder, which may be begun with fewer or more episodes: these are measured anew.

        Raises ConfigError when the folder holds other settings, or cannot be written.
        """
        held, now = load_settings(Path(self.out), self.experiment), self.to_json()
        if held is not None:
            differing = {key: value for key, value in held.to_json().items() if value != now[key] and key != "episodes"}
            if differing:
                wanted = ", ".join(f"{key}={value}" for key, value in differing.items())
                raise ConfigError(f"{self.out} holds runs with other settings ({wanted}); take another --out")
        write_record(Path(self.out) / FILE_NAME, now)

    def to_json(self) -> dict[str, Any]:
        """For the file; where the folder lies is not part of it."""
        mapping = asdict(self) | {"overrides": list(self.overrides)}
        del mapping["out"]
        return mapping


def default_out(experiment: str) -> Path:
    """Where the runs of an experiment go."""
    return Path("runs") / "experiments" / experiment


def load_settings(out: Path, experiment: str) -> Settings | None:
    """What a folder was begun with; None for a new one.

    Raises ConfigError when it is another experiment's, or holds results that no experiment wrote.
    """
    path = out / FILE_NAME
    if not path.is_file():
        if found := [name for name in RESULTS if (out / name).exists()]:
            raise ConfigError(f"{out} holds {', '.join(found)} of somebody's, but no {FILE_NAME}; take another --out")
        return None
    try:
        settings = from_mapping(Settings, {**json.loads(path.read_text(encoding="utf-8")), "out": str(out)}, str(path))
    except ValueError as error:
        raise ConfigError(f"{path}: not readable as JSON: {error}") from error
    if settings.experiment != experiment:
        raise ConfigError(f"{out}: wanted runs of {experiment}, got those of {settings.experiment}")
    return settings
