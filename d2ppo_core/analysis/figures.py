"""Figures of the page about training runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from d2ppo_core.analysis.diagnostics import PICTURED, Diagnosis
from d2ppo_core.analysis.features import WEIGHTS
from d2ppo_core.analysis.gradients import LayerGradient
from d2ppo_core.analysis.pairs import GROUPS, Estimate
from d2ppo_core.analysis.runs import LoggedRun
from d2ppo_core.config.schema import TAPS

WEIGHT_NAMES = {"initial": "before training", "trained": "after", "averaged": "after, averaged (EMA)"}
_WEIGHT_COLOURS = {"initial": "#9a9a9a", "trained": "#c2703d", "averaged": "#3b6ea5"}
_RUN_COLOURS = ("#3b6ea5", "#c2703d", "#4a9a5b", "#8e5ea2", "#b0a030", "#c0392b", "#3aa6a6", "#666666")
_WIDTH_IN = 9.5
_LOG_SPAN = 30.0
"""A positive curve that spans more than this factor gets a logarithmic axis."""
_FEW = 9
"""More panels than this are drawn smaller."""
_SMOOTHED_FROM = 60
"""Curves with more points than this are drawn pale, with their running median on top."""


def _width(columns: int) -> float:
    return max(_WIDTH_IN, 3.2 * columns)


def plot_curves(runs: Sequence[LoggedRun], names: Sequence[str]) -> Figure:
    """One panel per column of `metrics.csv`, one line per run that has the column."""
    columns = min(3 if len(names) <= _FEW else 4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(_WIDTH_IN, 0.6 + (2.1 if len(names) <= _FEW else 1.7) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(grid.flat, names, strict=False):
        spans, step_names = [], set()
        for index, run in enumerate(runs):
            if run.curves is None or name not in run.curves.columns:
                continue
            values = run.curves.columns[name]
            there = np.isfinite(values)
            _line(axis, run.curves.steps[there], values[there], _RUN_COLOURS[index % len(_RUN_COLOURS)])
            spans.append(values[there])
            step_names.add(run.curves.step_name.replace("_", " "))
        every = np.concatenate(spans)
        if every.min() > 0 and every.max() > _LOG_SPAN * every.min():
            _logarithmic(axis)
        axis.set_title(name.partition("/")[2] or name, fontsize=10 if len(names) <= _FEW else 9)
        axis.set_xlabel(" or ".join(sorted(step_names)), fontsize=9 if len(names) <= _FEW else 8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
    if len(runs) > 1:
        handles = [
            Line2D([], [], color=_RUN_COLOURS[index % len(_RUN_COLOURS)], label=run.label)
            for index, run in enumerate(runs)
            if run.curves is not None and not run.curves.columns.keys().isdisjoint(names)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)), frameon=False)
    return figure


def _logarithmic(axis: Any) -> None:
    """Logarithmic y-axis with numbers in plain notation, about as many whatever it spans."""
    axis.set_yscale("log")
    decades = np.log10(np.divide(*axis.get_ylim()[::-1]))
    digits = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)
    axis.yaxis.set_major_locator(LogLocator(subs=digits))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _line(axis: Any, steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64], colour: str) -> None:
    if len(values) <= _SMOOTHED_FROM:
        axis.plot(steps, values, color=colour, linewidth=1.4, marker="." if len(values) < 12 else None)
        return
    half = max(2, len(values) // 60)
    middle = [np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
    axis.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
    axis.plot(steps, middle, color=colour, linewidth=1.4)


def plot_dispersion(diagnoses: Sequence[Diagnosis]) -> Figure:
    """Distance and rank per tap, by weights and condition; one column of panels per run."""
    figure = Figure(figsize=(_width(len(diagnoses)), 5.4), layout="constrained")
    grid = figure.subplots(2, len(diagnoses), squeeze=False, sharey="row", sharex=True)
    for column, diagnosis in enumerate(diagnoses):
        for row, (field, title) in enumerate((("distance", "mean pairwise distance / √D"), ("rank", "effective rank"))):
            axis = grid[row, column]
            for offset, weights in enumerate(WEIGHTS):
                places = np.arange(len(TAPS)) + (offset - 1) * 0.2
                for condition, marker in (("observation", "o"), ("training", "_")):
                    found = diagnosis.dispersion[weights][condition]
                    heights = [getattr(found[tap], field) for tap in TAPS]
                    axis.plot(places, heights, marker, color=_WEIGHT_COLOURS[weights], markersize=7, markeredgewidth=2)
            axis.set_xticks(np.arange(len(TAPS)), TAPS)
            axis.grid(axis="y", alpha=0.25)
            if column == 0:
                axis.set_ylabel(title)
        grid[0, column].set_title(diagnosis.run.label, fontsize=11)
    for axis in grid[:, 0]:
        _logarithmic(axis)
    handles = [Line2D([], [], color=_WEIGHT_COLOURS[w], linewidth=4, label=WEIGHT_NAMES[w]) for w in WEIGHTS]
    handles += [
        Line2D([], [], color="#444", marker="o", linestyle="none", label="same noise for all windows"),
        Line2D([], [], color="#444", marker="_", linestyle="none", label="own noise and time step, as in the loss"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_pairs(diagnoses: Sequence[Diagnosis]) -> Figure:
    """Distance of close pairs as a share of the mean distance, with intervals; one panel per run."""
    figure = Figure(figsize=(_width(len(diagnoses)), 3.8), layout="constrained")
    grid = figure.subplots(1, len(diagnoses), squeeze=False, sharey=True)[0]
    for axis, diagnosis in zip(grid, diagnoses, strict=True):
        report = diagnosis.pairs
        axis.set_title(diagnosis.run.label, fontsize=11)
        axis.set_xticks(np.arange(len(diagnosis.taps)), diagnosis.taps)
        axis.set_xlim(-0.6, len(diagnosis.taps) - 0.4)
        if report is None:
            continue
        for group, marker in zip(GROUPS, ("o", "s"), strict=True):
            for offset, weights in enumerate(WEIGHTS):
                shift = 0.24 * (offset - 1) + (0.05 if group == "alike" else -0.05)
                for place, tap in enumerate(diagnosis.taps):
                    _point(axis, place + shift, report.features[group][weights][tap], _WEIGHT_COLOURS[weights], marker)
        axis.axhline(report.observation["different"].value, color="#222", linewidth=1, linestyle=":")
        axis.grid(axis="y", alpha=0.25)
    grid[0].set_ylim(bottom=0)
    grid[0].set_ylabel("distance of look-alikes\n/ mean distance")
    handles = [Line2D([], [], color=_WEIGHT_COLOURS[w], linewidth=4, label=WEIGHT_NAMES[w]) for w in WEIGHTS]
    handles += [
        Line2D([], [], color="#444", marker="o", linestyle="none", label="actions differ most"),
        Line2D([], [], color="#444", marker="s", markerfacecolor="white", linestyle="none", label="actions alike"),
        Line2D([], [], color="#222", linewidth=1, linestyle=":", label="the observations themselves"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def _point(axis: Any, place: float, estimate: Estimate, colour: str, marker: str) -> None:
    axis.plot([place, place], [estimate.low, estimate.high], color=colour, linewidth=1.6)
    face = colour if marker == "o" else "white"
    axis.plot(place, estimate.value, marker, color=colour, markerfacecolor=face, markersize=5)


def plot_pictures(diagnosis: Diagnosis, method: str, component: int, component_name: str) -> Figure:
    """Projections before and after, coloured by progress and by an action component; one row per tap."""
    shown = [picture for picture in diagnosis.pictures if picture.method == method and picture.tap in diagnosis.taps]
    rows = np.array(diagnosis.pictured)
    colours = (
        ("progress in the episode", "viridis", diagnosis.sample.progress[rows]),
        (component_name, "coolwarm", diagnosis.sample.chunks[rows, 0, component]),
    )
    figure = Figure(figsize=(11, 0.5 + 2.3 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, picture in enumerate(shown):
        for half, (_, palette, values) in enumerate(colours):
            limits = (0, 1) if half == 0 else (-np.abs(values).max(), np.abs(values).max())
            for place, weights in enumerate(PICTURED):
                axis = grid[row, 2 * half + place]
                points = picture.projections[weights].points
                dots = axis.scatter(
                    *points.T, c=values, cmap=palette, s=5, vmin=limits[0], vmax=limits[1], linewidths=0
                )
                axis.set(xticks=[], yticks=[])
                if row == 0:
                    axis.set_title(WEIGHT_NAMES[weights], fontsize=10)
                explained = sum(picture.projections[weights].explained)
                if np.isfinite(explained):
                    axis.set_xlabel(f"{100 * explained:.0f} % of the variance", fontsize=8, labelpad=1)
            if row == len(shown) - 1:
                bar = figure.colorbar(
                    dots, ax=list(grid[:, 2 * half : 2 * half + 2].flat), location="bottom", shrink=0.6, aspect=40
                )
                bar.set_label(colours[half][0], fontsize=9)
        grid[row, 0].set_ylabel(picture.tap, fontsize=11)
    return figure


def plot_gradients(diagnoses: Sequence[Diagnosis]) -> Figure:
    """Gradient norms by layer and the cosine between both terms, before and after training; one row per run."""
    layers = sum(len(diagnosis.gradients["initial"]) for diagnosis in diagnoses)
    figure = Figure(figsize=(_WIDTH_IN, 1.2 + 0.5 * len(diagnoses) + 0.3 * layers), layout="constrained")
    heights = [len(diagnosis.gradients["initial"]) for diagnosis in diagnoses]
    grid = figure.subplots(len(diagnoses), 2, squeeze=False, sharey="row", sharex=True, height_ratios=heights)
    for row, diagnosis in enumerate(diagnoses):
        for axis, weights in zip(grid[row], ("initial", "trained"), strict=True):
            _gradient_bars(axis, diagnosis.gradients[weights])
            axis.set_title(f"{diagnosis.run.label}: {WEIGHT_NAMES[weights]}", fontsize=10)
        grid[row, 0].invert_yaxis()
    grid[0, 0].set_xlim(right=6 * grid[0, 0].get_xlim()[1])  # room for the cosines
    for axis in grid[-1]:
        axis.set_xlabel("gradient norm (right: cosine between both)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def _gradient_bars(axis: Any, found: Sequence[LayerGradient]) -> None:
    places = np.arange(len(found))
    axis.barh(places - 0.2, [g.denoising for g in found], 0.38, color="#3b6ea5", label="noise prediction")
    axis.barh(places + 0.2, [g.dispersive for g in found], 0.38, color="#c2703d", label="λ · dispersive")
    axis.set_yticks(places, [g.layer for g in found], fontsize=8)
    axis.set_ylim(-0.6, len(found) - 0.4)
    axis.set_xscale("log")
    axis.grid(axis="x", alpha=0.25)
    for place, gradient in zip(places, found, strict=True):
        if np.isfinite(gradient.cosine):
            axis.annotate(
                f"{gradient.cosine:+.2f}",
                (0.99, place),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=8,
                color="#222",
            )
