"""Work through the runs of a plan: skip what is finished, go on with what was interrupted, stop when asked to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from d2ppo_core.config import (
    FinetuneConfig,
    PretrainConfig,
    config_hash,
    differences,
    load_kept_config,
    load_kept_finetune_config,
)
from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.results import write_record
from d2ppo_core.experiments.plan import Plan, PlannedRun
from d2ppo_core.experiments.records import FILE_NAME, load_record, load_validation
from d2ppo_core.experiments.settings import FIRST_SEED, Settings
from d2ppo_core.run_lock import RunLock


class Stages(Protocol):
    """What a run consists of; the first two return False when they were asked to stop and saved what they had."""

    def pretrain(self, config: PretrainConfig, data: Path, out: Path, *, resume: bool) -> bool:
        """As `d2ppo_core.pretrain.run.pretrain`."""
        ...

    def finetune(self, config: FinetuneConfig, origin: Path, out: Path, *, resume: bool) -> bool:
        """As `d2ppo_core.finetune.run.finetune`, in worlds of the task."""
        ...

    def evaluate(self, folder: Path, seeds: range) -> dict[str, Any]:
        """One episode per seed with the averaged weights; a row as `Result.to_json`, with `where`, `commit`."""
        ...


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGINT came where no trainer could catch it: while data is read, or while a policy is measured."""


@dataclass(frozen=True)
class Progress:
    """How the work ended."""

    finished: int
    """Runs that have been measured by now."""
    stopped: bool


def is_finished(run: PlannedRun, settings: Settings) -> bool:
    """Whether the run was measured in as many episodes as wanted. Raises ConfigError when it was trained otherwise."""
    out = Path(settings.out)
    record = load_record(run.folder(out))
    if record is None:
        return False
    _check_same(run.clone(out), run.pretrain_config(settings.overrides))
    if run.plan.tunes:
        _check_same(run.folder(out) / "tuned", run.finetune_config(settings.overrides))
    return len(record["evaluation"]["seeds"]) == settings.episodes


def _configs(run: PlannedRun, settings: Settings) -> tuple[PretrainConfig, FinetuneConfig | None]:
    """Of both stages; read before the first run, so that a file edited meanwhile cannot part the runs."""
    tuned = run.finetune_config(settings.overrides) if run.plan.tunes else None
    return run.pretrain_config(settings.overrides), tuned


def execute(runs: Sequence[PlannedRun], settings: Settings, stages: Stages) -> Progress:
    """Make all runs that are not finished.

    Raises:
        ConfigError: a folder holds a run with other settings or of other cells, or cannot be written.
        TrainingError: another process makes one of the runs.
        D2ppoError: a stage failed; the same call goes on where it broke off.
    """
    for plan in dict.fromkeys(run.plan for run in runs):
        _refuse_other_cells(plan, Path(settings.out))
    todo = [(run, _configs(run, settings)) for run in runs if not is_finished(run, settings)]
    finished, bar = len(runs) - len(todo), tqdm(total=len(runs), unit="run", dynamic_ncols=True)
    bar.update(finished)
    with bar, _raising_on_signal():
        try:
            for run, configs in todo:
                with _hold(run.folder(Path(settings.out))):
                    if not is_finished(run, settings) and not _make(run, configs, settings, stages, bar):
                        return Progress(finished, stopped=True)
                finished += 1
                bar.update()
        except Stopped:
            return Progress(finished, stopped=True)
    return Progress(finished, stopped=False)


def _refuse_other_cells(plan: Plan, out: Path) -> None:
    """Raise ConfigError where the folder holds runs of cells that the plan does not have (any more)."""
    known = {cell.name for cell in plan.cells}
    held = {found.parent.name for task in plan.tasks for found in out.glob(f"{task}/*/seed*")} - known
    if held:
        raise ConfigError(
            f"{out} holds runs of other cells than {plan.name} has ({', '.join(sorted(held)[:3])}; its own are "
            f"{', '.join(cell.name for cell in plan.cells[:3])}, …): take another --out"
        )


def _hold(folder: Path) -> RunLock:
    """A run's folder, so that the same command twice makes no run twice."""
    try:
        return RunLock(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error


def _make(
    run: PlannedRun,
    configs: tuple[PretrainConfig, FinetuneConfig | None],
    settings: Settings,
    stages: Stages,
    bar: Any,
) -> bool:
    out, (first, second) = Path(settings.out), configs
    clone = measured = run.clone(out)
    bar.set_description(f"{run.label} pretrain")
    if not _is_whole(clone, first) and not stages.pretrain(
        first, settings.dataset(run.task), clone, resume=(clone / "checkpoint.pt").exists()
    ):
        return False
    if second is not None:
        measured = run.folder(out) / "tuned"
        bar.set_description(f"{run.label} finetune")
        if not _is_whole(measured, second) and not stages.finetune(
            second, clone, measured, resume=(measured / "finetune.pt").exists()
        ):
            return False
    bar.set_description(f"{run.label} evaluate")
    found = stages.evaluate(measured, range(FIRST_SEED, FIRST_SEED + settings.episodes))
    write_record(run.folder(out) / FILE_NAME, _record(run, configs, settings, measured, found))
    return True


def _is_whole(folder: Path, config: PretrainConfig | FinetuneConfig) -> bool:
    """Whether the folder holds this run to its end. Raises ConfigError when it was begun with another configuration."""
    if not (folder / ("finetune.pt" if isinstance(config, FinetuneConfig) else "checkpoint.pt")).is_file():
        return False
    from d2ppo_core.finetune.runs import load_run  # imports torch

    _check_same(folder, config)
    run = load_run(folder)
    if isinstance(config, PretrainConfig):
        return run.origin.step >= config.optim.steps
    return run.finetune is not None and run.finetune.iteration >= config.iterations


def _check_same(folder: Path, config: PretrainConfig | FinetuneConfig) -> None:
    """Raise ConfigError where a run was begun with another configuration.

    Compared is the file, not its hash, so that a later version with one more setting goes on with old runs.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return
    held = load_kept_finetune_config(path) if isinstance(config, FinetuneConfig) else load_kept_config(path)
    if differing := differences(_core(held), _core(config)):
        raise ConfigError(f"{folder} was trained with another configuration ({differing}); take another --out")


def _core(config: Any) -> Any:
    """What determines the weights."""
    if isinstance(config, FinetuneConfig):
        env, success = replace(config.env, threads=1, ray_address=""), replace(config.success, confirm_episodes=0)
        return replace(config, threads=1, device="cpu", env=env, success=success)
    quiet = replace(config.optim, log_every=1, validate_every=1, checkpoint_every_s=0.0)
    return replace(config, optim=replace(quiet, threads=1, device="cpu", compile=False))


def _record(
    run: PlannedRun,
    configs: tuple[PretrainConfig, FinetuneConfig | None],
    settings: Settings,
    measured: Path,
    found: dict[str, Any],
) -> dict[str, Any]:
    from d2ppo_core.finetune.runs import load_run  # imports torch

    loaded = load_run(measured)
    tuned = loaded.finetune
    return {
        "experiment": run.plan.name,
        "task": run.task,
        "cell": run.cell.name,
        "seed": run.seed,
        "command": settings.command(tasks=[run.task], cells=[run.cell.name], seeds=[run.seed]),
        "config_sha256": [config_hash(_core(config)) for config in configs if config is not None],
        "commit": str((tuned.code if tuned else loaded.origin.code).get("commit", "unknown")),
        "dataset": loaded.origin.dataset,
        "steps": loaded.origin.step,
        "pretrain_s": round(loaded.origin.elapsed_s, 1),
        "finetune_s": round(tuned.elapsed_s, 1) if tuned else 0.0,
        "env_steps": tuned.env_steps if tuned else 0,
        "validation": load_validation(run.clone(Path(settings.out))),
        "evaluation": found,
    }


@contextmanager
def _raising_on_signal() -> Iterator[None]:
    """SIGTERM and SIGINT raise `Stopped`, except while a trainer catches them itself to save what it has."""

    def stop(number: int, frame: Any) -> None:
        raise Stopped(f"signal {number}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
