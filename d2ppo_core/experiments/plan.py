"""What an experiment compares, and the runs that this takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from d2ppo_core.config import FinetuneConfig, PretrainConfig, load_config, load_finetune_config
from d2ppo_core.errors import ConfigError

SECOND_STAGE = "finetune."
"""Overrides of a command line that begin so are for fine-tuning, e.g. `finetune.iterations=20`."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One of the things compared: what differs from the shipped configuration of a task."""

    name: str
    pretrain: tuple[str, ...] = ()
    """Overrides of the first stage, `key.sub=value`."""
    finetune: tuple[str, ...] = ()
    """Overrides of the second stage."""
    steps_factor: float = 1.0
    """Optimiser steps, warm-up and start of averaging of the first stage are multiplied by this."""
    clone_of: str = ""
    """Fine-tune the pre-training of this cell instead of one of its own."""
    arm: str = ""
    """Cells of one arm differ in their learning rate only, and the arm is shown at its best one."""
    against: str = ""
    """Arm that this one is compared to."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One experiment."""

    name: str
    question: str
    cells: tuple[Cell, ...]
    reference: str
    """Name of the cell that the others are compared to."""
    tasks: tuple[str, ...]
    measures: str
    """What is measured, in a line."""
    seeds: tuple[int, ...] = (0, 1, 2)
    inputs: str = "state"
    """Which of a task's configurations: `state` or `image`."""
    selection_seeds: tuple[int, ...] = ()
    """Seeds of training by which each arm's rate is chosen, on their own; empty: by those that it is shown with."""
    tunes: bool = False
    """Whether the cells are fine-tuned; else the pre-trained policies are measured."""

    def __post_init__(self) -> None:
        """Raise ConfigError for two cells of one name, or a reference or clone that is no cell."""
        names = [cell.name for cell in self.cells]
        if len(set(names)) < len(names):
            raise ConfigError(f"{self.name}: wanted cells of different names, got {', '.join(names)}")
        for wanted in (self.reference, *(cell.clone_of for cell in self.cells if cell.clone_of)):
            if wanted not in names:
                raise ConfigError(f"{self.name}: wanted one of the cells {', '.join(names)}, got {wanted!r}")

    def cell(self, name: str) -> Cell:
        """One of the cells. Raises ConfigError when there is none of that name."""
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise ConfigError(f"{self.name}: unknown cell {name!r}; cells are {', '.join(c.name for c in self.cells)}")

    def runs(self, tasks: Sequence[str], seeds: Sequence[int], cells: Sequence[str] = ()) -> tuple[PlannedRun, ...]:
        """Cells x tasks x seeds; every seed of all cells before the next, so that early tables compare.

        Raises:
            ConfigError: a task or a cell is unknown, or a seed is named twice.
        """
        if unknown := [task for task in tasks if task not in self.tasks]:
            raise ConfigError(f"{self.name}: unknown task {', '.join(unknown)}; tasks are {', '.join(self.tasks)}")
        if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
            raise ConfigError(f"seeds: wanted different numbers >= 0, got {' '.join(map(str, seeds))}")
        chosen = [self.cell(name) for name in cells] or list(self.cells)
        chosen.sort(key=lambda cell: bool(cell.clone_of))  # those that lend their clones come first
        return tuple(
            PlannedRun(plan=self, task=task, cell=cell, seed=seed)
            for task in tasks
            for seed in seeds
            for cell in chosen
        )


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One cell on one task with one seed."""

    plan: Plan
    task: str
    cell: Cell
    seed: int

    @property
    def label(self) -> str:
        """As it stands beside a progress bar; also the folder below that of the experiment."""
        return f"{self.task}/{self.cell.name}/seed{self.seed}"

    def folder(self, out: Path) -> Path:
        """Of this run; `pretrain`, `tuned` and `evaluation.json` lie in it."""
        return out / self.label

    def clone(self, out: Path) -> Path:
        """Folder of the pre-training, which may be that of another cell."""
        return replace(self, cell=self._lender).folder(out) / "pretrain"

    @property
    def _config(self) -> str:
        return f"{self.task}_{self.plan.inputs}"

    @property
    def _lender(self) -> Cell:
        return self.plan.cell(self.cell.clone_of) if self.cell.clone_of else self.cell

    def pretrain_config(self, overrides: Sequence[str] = ()) -> PretrainConfig:
        """Of the first stage: the shipped one of the task, then `overrides`, then the cell's.

        Raises:
            ConfigError: an override is of no use, or sets what the plan compares.
        """
        lender = self._lender
        general = _of_stage(overrides, second=False)
        _check_free(self.plan.name, general, [text for cell in self.plan.cells for text in cell.pretrain])
        config = load_config(self._config, (*general, *lender.pretrain, f"seed={self.seed}"))
        factor, optim = lender.steps_factor, config.optim
        if factor == 1.0:
            return config
        scaled = {
            name: max(1, round(factor * getattr(optim, name))) for name in ("steps", "warmup_steps", "ema_start_step")
        }
        return replace(config, optim=replace(optim, **scaled))

    def finetune_config(self, overrides: Sequence[str] = ()) -> FinetuneConfig:
        """Of the second stage; else as `pretrain_config`."""
        general = _of_stage(overrides, second=True)
        _check_free(self.plan.name, general, [text for cell in self.plan.cells for text in cell.finetune])
        config = load_finetune_config(self._config, (*general, *self.cell.finetune, f"seed={self.seed}"))
        if config.success.stop_at:
            raise ConfigError("finetune.success.stop_at: wanted 0, so that all cells are tuned equally long")
        config = replace(config, success=replace(config.success, confirm_episodes=0))  # the experiment measures itself
        return config.at_times_of(self.pretrain_config(overrides))


def _of_stage(overrides: Sequence[str], *, second: bool) -> list[str]:
    return [text.removeprefix(SECOND_STAGE) for text in overrides if text.startswith(SECOND_STAGE) == second]


def _check_free(plan: str, overrides: Sequence[str], compared: Sequence[str]) -> None:
    """Raise ConfigError where an override would be undone by a cell, or undo what the cells differ in."""
    taken = {text.partition("=")[0] for text in compared} | {"seed"}
    for text in overrides:
        if (key := text.partition("=")[0]) in taken:
            raise ConfigError(f"override {text!r}: {plan} sets {key} itself; set by it are {', '.join(sorted(taken))}")
