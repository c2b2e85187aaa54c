"""The page about training runs: what was measured, in tables and figures that say what to look at."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from d2ppo_core.analysis.curve_groups import curve_groups
from d2ppo_core.analysis.curves import Curves
from d2ppo_core.analysis.diagnostics import Diagnosis, Settings, plain, to_json
from d2ppo_core.analysis.embedding import can_tsne
from d2ppo_core.analysis.features import CONDITIONS, WEIGHTS
from d2ppo_core.analysis.figures import (
    plot_dispersion,
    plot_gradients,
    plot_pairs,
    plot_pictures,
)
from d2ppo_core.analysis.pages import WHAT, png_uri, svg_uri, write_page
from d2ppo_core.analysis.pairs import CONTRAST, MIN_EPISODES, Estimate, PairReport
from d2ppo_core.analysis.runs import LoggedRun
from d2ppo_core.config import LossConfig
from d2ppo_core.config.schema import TAPS
from d2ppo_core.output import check_file, writing_file
from d2ppo_core.recognise import is_page, is_record
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA

PAGE, NUMBERS = "analysis.html", "analysis.json"
_RECORD, _is_numbers = "record of an analysis", is_record("settings", "runs", "curves")

_AXES = ("x", "y", "z")
_ACTIONS = {
    OSC_DELTA: (*(f"motion in {axis}" for axis in _AXES), *(f"turn about {axis}" for axis in _AXES), "gripper"),
    EE_ABSOLUTE: (
        *(f"goal in {axis}" for axis in _AXES),
        *(f"{axis} of the hand's {column} axis" for column in _AXES[:2] for axis in _AXES),
        "gripper",
    ),
}


def action_name(component: int, representation: str = OSC_DELTA) -> str:
    """Name of a component of the action, for one arm or several."""
    names = _ACTIONS[representation]
    arm, place = divmod(component, len(names))
    return names[place] + (f", arm {arm + 1}" if arm else "") + ", first action, normalised"


def write_diagnostics(
    folder: Path, runs: Sequence[LoggedRun], diagnoses: Sequence[Diagnosis], settings: Settings
) -> tuple[Path, Path]:
    """Write `analysis.html` and `analysis.json` to a folder, which is created.

    Args:
        folder: Where to.
        runs: All runs; their curves are shown.
        diagnoses: Of those among them that are pre-training runs.
        settings: What was looked at.

    Returns:
        Paths of the page and of the numbers.
    """
    component = settings.action_component
    page = write_page(
        folder / PAGE,
        "diagnostics.html.j2",
        runs=runs,
        rows=[_overview(run, diagnoses) for run in runs],
        diagnoses=diagnoses,
        settings=settings,
        taps=TAPS,
        default_tap=LossConfig().dispersive_tap,
        weights=WEIGHTS,
        groups=("different", CONTRAST),
        conditions=CONDITIONS,
        unbounded=[d.run.label for d in diagnoses if d.pairs and not _has_intervals(d.pairs)],
        min_episodes=MIN_EPISODES,
        pair_notes=_together(diagnoses, _pair_note),
        sources=_together(diagnoses, _source),
        curves=curve_groups(runs),
        dispersion_plot=svg_uri(plot_dispersion(diagnoses)) if diagnoses else None,
        pairs_plot=svg_uri(plot_pairs(diagnoses)) if any(d.pairs for d in diagnoses) else None,
        gradient_plot=svg_uri(plot_gradients(diagnoses)) if diagnoses else None,
        pictures=[
            (method, d, png_uri(plot_pictures(d, method, component, action_name(component, _representation(d)))))
            for method in ("PCA", "t-SNE")
            for d in diagnoses
            if any(picture.method == method for picture in d.pictures)
        ],
        tsne_missing=settings.tsne and not can_tsne(),
        show=_show,
    )
    numbers = folder / NUMBERS
    shown = {"settings": plain(settings), "runs": [to_json(d) for d in diagnoses], "curves": _curves_json(runs)}
    with writing_file(numbers, _RECORD, _is_numbers) as unfinished:
        unfinished.write_text(json.dumps(shown, indent=1, allow_nan=False), encoding="utf-8")
    return page, numbers


def check_diagnostics(folder: Path) -> None:
    """Raise OutputError where page or numbers may not be written, as others of these names are there."""
    check_file(folder / PAGE, WHAT, is_page)
    check_file(folder / NUMBERS, _RECORD, _is_numbers)


def _representation(diagnosis: Diagnosis) -> str:
    return diagnosis.checkpoint.config.data.action_representation


def _overview(run: LoggedRun, diagnoses: Sequence[Diagnosis]) -> tuple[str, ...]:
    """A run's row in the table at the top."""

    def last(name: str) -> str:
        value = run.curves.last(name) if run.curves else math.nan
        return f"{value:.3g}" if math.isfinite(value) else "–"

    losses = tuple(
        last(name)
        for name in ("losses/denoising", "losses/validation", "validation/action_error", "validation/sensitivity")
    )
    found = next((d for d in diagnoses if d.run is run), None)
    if found is None:
        step = f"{run.curves.step_name} {run.curves.steps[-1]:g}" if run.curves and len(run.curves.steps) else "–"
        return (run.label, run.stage, "–", step, "–", *losses, "–", "–")
    config, term = found.checkpoint.config, found.term
    shown = (
        f"{term.loss.dispersive_form} {term.loss.dispersive} at {term.tap}, λ {term.weight:.3g}"
        if term.trained
        else "none"
    )
    rank = change = "–"
    if term.tap in TAPS:
        before, after = (found.dispersion[w]["observation"][term.tap].rank for w in ("initial", "averaged"))
        rank = f"{before:.1f} → {after:.1f}"
        if found.pairs:
            change = _show(found.pairs.change["different"]["averaged"][term.tap])
    return (run.label, run.stage, config.task, str(found.checkpoint.step), shown, *losses, rank, change)


def _together(diagnoses: Sequence[Diagnosis], text_of: Callable[[Diagnosis], str]) -> list[tuple[str, str]]:
    """Texts about runs, each with the labels of all runs that it is true of."""
    labels: dict[str, list[str]] = {}
    for diagnosis in diagnoses:
        labels.setdefault(text_of(diagnosis), []).append(diagnosis.run.label)
    return [(", ".join(names), text) for text, names in labels.items() if text]


def _pair_note(diagnosis: Diagnosis) -> str:
    report = diagnosis.pairs
    if report is None:
        return ""
    seen, acted = report.observation, report.actions
    return (
        f"{report.count} pairs in each group. Their observations lie at {_show(seen['different'])} (different actions) "
        f"and {_show(seen['alike'])} (alike) of the mean distance of observations; their action chunks at "
        f"{_show(acted['different'])} and {_show(acted['alike'])} of the mean distance of chunks."
    )


def _has_intervals(report: PairReport) -> bool:
    """Whether there were episodes enough to draw among them."""
    estimates = [each for by_tap in report.change.values() for taps in by_tap.values() for each in taps.values()]
    return any(math.isfinite(each.low) for each in estimates)


def _source(diagnosis: Diagnosis) -> str:
    code = diagnosis.checkpoint.code
    commit, torch_version = str(code.get("commit", "unknown"))[:12], code.get("torch", "unknown")
    return (
        f"{len(diagnosis.sample)} of {diagnosis.sample.available} training windows of {diagnosis.dataset}, "
        f"{len(diagnosis.pictured)} of them in the pictures; trained from seed {diagnosis.checkpoint.config.seed} "
        f"by code {commit}, torch {torch_version}."
    )


def _show(estimate: Estimate) -> str:
    """An estimate as text: value and, where known, its interval."""
    if math.isnan(estimate.low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} … {estimate.high:.2f})"


def _curves_json(runs: Sequence[LoggedRun]) -> dict[str, Any]:
    """Last number of each column by run."""

    def last(curves: Curves) -> dict[str, Any]:
        return {name: plain(curves.last(name)) for name in curves.columns}

    return {run.label: last(run.curves) for run in runs if run.curves}
