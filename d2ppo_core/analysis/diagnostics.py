"""Everything that the analysis of a pre-training run measures, and its plain form for JSON."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2ppo_core.analysis.embedding import Projection, can_tsne, project_pca, project_tsne
from d2ppo_core.analysis.features import Dispersion, Features, extract, measure_dispersion, policies
from d2ppo_core.analysis.gradients import (
    DispersiveTerm,
    LayerGradient,
    dispersive_term_of,
    fixed_batch,
    layer_gradients,
)
from d2ppo_core.analysis.pairs import PairReport, measure_pairs
from d2ppo_core.analysis.runs import LoggedRun, find_dataset
from d2ppo_core.analysis.samples import Sample, draw_sample
from d2ppo_core.config.schema import TAPS
from d2ppo_core.data.windows import file_sha256
from d2ppo_core.errors import ConfigError
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.objective import learning_taps

PICTURED = ("initial", "averaged")
"""Weights whose features are shown as pictures."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is looked at."""

    windows: int = 2000
    seed: int = 0
    closest: float = 0.001
    """Share of all pairs of windows of different episodes that count as near-identical."""
    draws: int = 4
    """Common noises over which distances of pairs are averaged."""
    pictured_windows: int = 800
    tsne: bool = True
    action_component: int = 2
    """Component of the chunk's first action that colours the pictures; 2 is the vertical motion."""

    def __post_init__(self) -> None:
        """Raise ValueError for too few windows or draws, or a share of closest pairs beyond (0, 1]."""
        if min(self.windows, self.pictured_windows) < 8 or self.draws < 1 or not 0 < self.closest <= 1:
            raise ValueError(f"wanted at least 8 windows, one draw and 0 < closest <= 1, got {self}")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Projections of the same windows at one tap, by weights, and what colours them."""

    method: str
    tap: str
    projections: Mapping[str, Projection]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was measured on one run; by weights, condition and tap."""

    run: LoggedRun
    checkpoint: Checkpoint
    dataset: Path
    sample: Sample
    term: DispersiveTerm
    pictured: tuple[int, ...]
    """Rows of the sample that the pictures show."""
    dispersion: Mapping[str, Mapping[str, Mapping[str, Dispersion]]]
    pairs: PairReport | None
    pictures: tuple[Picture, ...]
    gradients: Mapping[str, tuple[LayerGradient, ...]]
    remarks: tuple[str, ...]

    @property
    def taps(self) -> tuple[str, ...]:
        """Taps whose features training can change."""
        return learning_taps(self.checkpoint.config)


def diagnose(
    run: LoggedRun, saved: Checkpoint, data: Path | None, settings: Settings, say: Callable[[str], None]
) -> Diagnosis:
    """Measure a pre-training run.

    Args:
        run: The run.
        saved: Its checkpoint.
        data: Dataset that it was trained on; None looks where the checkpoint says.
        settings: How much is looked at.
        say: Is told what comes next.

    Raises:
        ConfigError: The action lacks the component that colours the pictures.
        DataError: The dataset is missing, damaged, of another task or layout.
    """
    if settings.action_component >= saved.shapes.action_dim:
        wanted = f"wanted 0 … {saved.shapes.action_dim - 1}, got {settings.action_component}"
        raise ConfigError(f"--action: {wanted} for the actions of {run.folder}")
    path = find_dataset(run, saved, data)
    say(f"{run.label}: reading {path}")
    sample = draw_sample(path, saved, size=settings.windows, seed=settings.seed)
    networks = policies(saved)
    features = {}
    for weights, policy in networks.items():
        say(f"{run.label}: features of {len(sample)} windows, {weights} weights")
        features[weights] = extract(policy, sample, draws=settings.draws, seed=settings.seed)
    say(f"{run.label}: dispersion, pairs, gradients")
    batch, term = fixed_batch(sample, saved.config), dispersive_term_of(saved)
    gradients = {
        weights: layer_gradients(networks[weights], batch, saved.config, term) for weights in ("initial", "trained")
    }
    dispersion = {weights: measure_dispersion(found) for weights, found in features.items()}
    pairs = measure_pairs(sample, features, closest=settings.closest, seed=settings.seed)
    rng = np.random.default_rng(settings.seed)
    pictured = np.sort(rng.permutation(len(sample))[: settings.pictured_windows])
    return Diagnosis(
        run=run,
        checkpoint=saved,
        dataset=path,
        sample=sample,
        term=term,
        pictured=tuple(pictured.tolist()),
        dispersion=dispersion,
        pairs=pairs,
        pictures=_pictures(run.label, features, pictured, settings, say),
        gradients=gradients,
        remarks=_remarks(saved, path, term, gradients, pairs),
    )


def _pictures(
    label: str, features: Mapping[str, Features], pictured: Any, settings: Settings, say: Callable[[str], None]
) -> tuple[Picture, ...]:
    methods: dict[str, Callable[[Any], Projection]] = {"PCA": project_pca}
    if settings.tsne and can_tsne():
        methods["t-SNE"] = lambda z: project_tsne(z, seed=settings.seed)
    found = []
    for method, project in methods.items():
        for tap in TAPS:
            say(f"{label}: {method} at {tap}")
            shown = {weights: features[weights].of("observation")[tap][pictured] for weights in PICTURED}
            found.append(
                Picture(method=method, tap=tap, projections={weights: project(z) for weights, z in shown.items()})
            )
    return tuple(found)


def _remarks(
    saved: Checkpoint,
    path: Path,
    term: DispersiveTerm,
    gradients: Mapping[str, tuple[LayerGradient, ...]],
    pairs: PairReport | None,
) -> tuple[str, ...]:
    """What a reader has to know before believing the figures."""
    found = []
    if file_sha256(path) != saved.dataset.get("sha256"):
        found.append(f"{path.name} is not the file that this run was trained on (its SHA-256 differs).")
    if not term.trained:
        found.append(
            "Trained without a dispersive term; the gradients shown are those that the default one "
            f"({term.loss.dispersive} at {term.tap}, λ = {term.weight:g}) would have."
        )
    for weights, layers in gradients.items():
        if not any(layer.dispersive for layer in layers):
            found.append(f"The gradient of the dispersive term is exactly zero with the {weights} weights.")
    if pairs is None:
        found.append("All windows come from one episode, so that no look-alikes of different episodes exist.")
    return tuple(found)


def plain(value: Any) -> Any:
    """Dataclasses, arrays and mappings as what JSON knows; numbers that are not finite become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The figures of a run, without pictures."""
    saved = diagnosis.checkpoint
    return {
        "label": diagnosis.run.label,
        "run": str(diagnosis.run.folder),
        "task": saved.config.task,
        "seed": saved.config.seed,
        "step": saved.step,
        "loss": plain(saved.config.loss),
        "dispersive_term": {
            "tap": diagnosis.term.tap,
            "weight": diagnosis.term.weight,
            "trained": diagnosis.term.trained,
        },
        "dataset": {"path": str(diagnosis.dataset), "trained_on": plain(saved.dataset)},
        "windows": {"looked_at": len(diagnosis.sample), "available": diagnosis.sample.available},
        "dispersion": plain(diagnosis.dispersion),
        "pairs": plain(diagnosis.pairs),
        "pca_explained": {
            picture.tap: {weights: plain(p.explained) for weights, p in picture.projections.items()}
            for picture in diagnosis.pictures
            if picture.method == "PCA"
        },
        "gradients": plain(diagnosis.gradients),
        "remarks": list(diagnosis.remarks),
    }
