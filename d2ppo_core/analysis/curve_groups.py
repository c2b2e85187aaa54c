"""Curves of training runs in groups, each with a sentence on what to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2ppo_core.analysis.figures import plot_curves
from d2ppo_core.analysis.pages import svg_uri
from d2ppo_core.analysis.runs import LoggedRun

_HINTS = {
    "losses": "The noise-prediction losses should fall and flatten; a validation loss that rises again while the "
    "training loss falls is over-fitting. In fine-tuning the value loss should fall; the policy loss stays about 0.",
    "validation": "The error of the denoised actions should fall with the loss. Sensitivity, how much a chunk changes "
    "with the observation, ranks clones better than a loss: of two runs on the same data the deafer one solves less.",
    "first_layer": "Features that grow (rms) along the time step (time_share) leave the observation a smaller share: "
    "what a dispersive term that is not scale-free does.",
    "dispersion": "Distance and rank of the features as they developed: a rank that falls to a few is collapse.",
    "optim": "Gradient norms should stay within one or two orders of magnitude; spikes point to a learning rate that "
    "is too high.",
    "speed": "A dip is another load on the machine, not the training.",
    "success": "The figure that counts, measured without exploration; a rise followed by a fall calls for smaller "
    "steps.",
    "rollout": "Success and reward while exploring: below the evaluation, and rising with it.",
    "ppo": "How far each update moved the policy (KL divergence) and how much of it was clipped: both should stay "
    "small and steady.",
    "critic": "The share of the returns' variance that the critic explains should rise towards 1.",
}
"""What to look at in a group of columns."""
_HINT = "Columns of metrics.csv over training: look for curves that jump or stop moving."


@dataclass(frozen=True)
class CurveGroup:
    """Columns of one prefix: what to look at, the figure (None if nothing moves), and what stays as it is."""

    prefix: str
    hint: str
    picture: str | None
    constant: str


def curve_groups(runs: Sequence[LoggedRun]) -> list[CurveGroup]:
    """All columns of all runs by prefix, in the order of the files."""
    names: dict[str, list[str]] = {}
    for run in runs:
        for prefix, found in (run.curves.groups() if run.curves else {}).items():
            names.setdefault(prefix, []).extend(name for name in found if name not in names.get(prefix, ()))
    groups = []
    for prefix, columns in names.items():
        constant = {name: text for name in columns if (text := _constant(runs, name))}
        moving = [name for name in columns if name not in constant]
        picture = svg_uri(plot_curves(runs, moving)) if moving else None
        text = "; ".join(f"{name.partition('/')[2] or name} {value}" for name, value in constant.items())
        groups.append(CurveGroup(prefix, _HINTS.get(prefix, _HINT), picture, text))
    return groups


def _constant(runs: Sequence[LoggedRun], name: str) -> str:
    """The value of a column that all rows of each run agree on, by run where these differ; empty if it moves."""
    values: dict[str, float] = {}
    for run in runs:
        if run.curves and name in run.curves.columns:
            found = run.curves.columns[name]
            different = np.unique(found[np.isfinite(found)])
            if len(different) > 1:
                return ""
            values[run.label] = float(different[0])
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values())):g}"
    return " · ".join(f"{value:g} ({label})" for label, value in values.items())
