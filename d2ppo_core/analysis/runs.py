"""Folders of training runs, and the dataset that belongs to one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2ppo_core.analysis.curves import FILE_NAME as METRICS
from d2ppo_core.analysis.curves import Curves, read_curves
from d2ppo_core.config import read_started
from d2ppo_core.errors import ConfigError, DataError
from d2ppo_core.finetune.checkpoint import FILE_NAME as FINETUNED
from d2ppo_core.pretrain.checkpoint import FILE_NAME as CHECKPOINT
from d2ppo_core.pretrain.checkpoint import Checkpoint, load_checkpoint


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a run left behind."""

    label: str
    folder: Path
    curves: Curves | None
    checkpoint: Checkpoint | None
    """Of pre-training; None for fine-tuning, or before the first one: such a run has curves only."""

    @property
    def stage(self) -> str:
        """What kind of run it is."""
        if self.checkpoint is not None:
            return "pre-training"
        return "fine-tuning" if (self.folder / FINETUNED).is_file() else "no checkpoint"


def read_run(folder: Path, label: str) -> LoggedRun:
    """Read a run folder.

    Raises:
        DataError: the folder is missing or holds neither curves nor checkpoint, or the curves cannot be read.
        TrainingError: the checkpoint of a pre-training run cannot be read.
    """
    metrics, checkpoint = folder / METRICS, folder / CHECKPOINT
    if not metrics.is_file() and not checkpoint.is_file():
        raise DataError(f"{folder}: wanted the folder of a training run, got neither {METRICS} nor {CHECKPOINT}")
    curves = read_curves(metrics) if metrics.is_file() else None
    saved = load_checkpoint(folder) if checkpoint.is_file() else None
    return LoggedRun(label=label, folder=folder, curves=curves, checkpoint=saved)


def make_labels(folders: Sequence[Path], labels: str | None) -> tuple[str, ...]:
    """Names of the runs on the page: the comma-separated ones, else their folders' names.

    Raises ConfigError when their number differs from the runs' or two are equal.
    """
    names = tuple(folder.resolve().name for folder in folders)
    if labels is None:
        return names if len(set(names)) == len(names) else tuple(str(folder) for folder in folders)
    wanted = tuple(label.strip() for label in labels.split(","))
    if len(wanted) != len(folders) or len(set(wanted)) != len(wanted) or not all(wanted):
        raise ConfigError(f"--labels: wanted {len(folders)} different names separated by commas, got {labels!r}")
    return wanted


def find_dataset(run: LoggedRun, saved: Checkpoint, data: Path | None) -> Path:
    """The file named by `data`, else the one that the checkpoint names, else `data/<task>.hdf5`.

    Raises DataError when none of them is there.
    """
    if data is not None:
        wanted = [data]
    else:
        started = read_started(run.folder).data_path
        if started is not None and started.is_dir():  # a fine-tuned run names the folder of its pre-training
            started = read_started(started).data_path
        named = [str(saved.dataset[key]) for key in ("path", "file") if saved.dataset.get(key)]
        wanted = (
            [path for path in (started,) if path]
            + [Path(name) for name in named]
            + [Path("data") / Path(name).name for name in named]
        )
        wanted.append(Path("data") / f"{saved.config.task}.hdf5")
    for path in wanted:
        if path.is_file():
            return path
    looked = " or ".join(dict.fromkeys(str(path) for path in wanted))
    raise DataError(f"the dataset of {run.folder} is not at {looked}; name it with --data")
