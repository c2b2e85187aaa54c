"""The gate in front of every bundle: the exported graph must compute what the plain torch sampler computes."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from d2ppo_core.data.image_fit import ImageFit
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.data.windows import Windows
from d2ppo_core.errors import ExportError
from d2ppo_core.models.policy import ChunkPolicy

TOLERANCE = 5e-6
"""Largest deviation from the exact answer that needs no excuse, in normalised action units."""

ROUNDING_FACTOR = 4.0
"""A steep policy magnifies rounding: the graph may miss the exact answer by this many times the worst miss of plain
torch in float32, which rounds as coarsely but in another order."""

LIMIT = 1e-4
"""Largest deviation whatever the policy: a tenth of a percent of a tick's motion is far above it."""

Inputs = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """Deviations from the torch sampler in float64, in normalised action units."""

    samples: int
    max_deviation: float
    """Of the graph."""
    median_deviation: float
    """Of the graph: median over the samples of each one's largest deviation."""
    max_rounding: float
    """Of the torch sampler in float32."""


def open_session(onnx: bytes) -> ort.InferenceSession:
    """Open a graph as the runtime does: one thread, without the fusion that slows the encoder down."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        onnx, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )


def random_inputs(
    policy: ChunkPolicy, normalizer: Normalizer, image_shape: tuple[int, ...] | None, count: int, seed: int
) -> Iterator[Inputs]:
    """States uniform over the measured range, uniform pixels, Gaussian noise; image_shape (Ncam, H, W, 3) or None."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        state = rng.uniform(-1, 1, (1, len(normalizer.state.center)))
        inputs: Inputs = {
            "state": normalizer.state.denormalize(state),
            "noise": rng.standard_normal((1, policy.pred_horizon, policy.action_dim), dtype=np.float32),
        }
        if image_shape is not None:
            inputs["images"] = rng.integers(0, 256, (1, *image_shape), dtype=np.uint8)
        yield inputs


def dataset_inputs(policy: ChunkPolicy, windows: Windows, count: int, seed: int) -> Iterator[Inputs]:
    """Observations drawn from a dataset, with Gaussian noise."""
    rng = np.random.default_rng(seed)
    for index in rng.integers(0, len(windows), count):
        inputs: Inputs = {
            "state": windows.state[index : index + 1],
            "noise": rng.standard_normal((1, policy.pred_horizon, policy.action_dim), dtype=np.float32),
        }
        if windows.images is not None:
            inputs["images"] = windows.images[index : index + 1]
        yield inputs


def reference_actions(
    policy: ChunkPolicy, normalizer: Normalizer, inputs: Inputs, fit: ImageFit | None = None
) -> npt.NDArray[np.floating]:
    """Normalised actions (1, Tp, Da) of the plain torch sampler, in the precision of its weights.

    `fit` makes the cameras' pictures what the network sees, as in training.
    """
    dtype = next(policy.parameters()).dtype
    state = torch.from_numpy(normalizer.state.normalize(inputs["state"])).to(dtype)
    seen = np.asarray(inputs["images"], dtype=np.uint8) if "images" in inputs else None
    images = None if seen is None else torch.from_numpy(seen if fit is None else fit.apply(seen))
    return policy.sample(state, images, torch.from_numpy(inputs["noise"]).to(dtype)).numpy()


def check_parity(
    session: ort.InferenceSession,
    policy: ChunkPolicy,
    normalizer: Normalizer,
    samples: Iterator[Inputs],
    fit: ImageFit | None = None,
) -> ParityReport:
    """Compare graph and torch on every sample.

    Raises ExportError when an answer of the graph is further from the exact one than `TOLERANCE` and than
    `ROUNDING_FACTOR` times what float32 costs this policy, is not finite, or repeats differently.
    """
    exact = copy.deepcopy(policy).double()
    # float64 here too: undoing the action's scale must not add rounding of its own
    center, half = normalizer.action.center.astype(np.float64), normalizer.action.half.astype(np.float64)
    deviations, rounding = [], []
    for inputs in samples:
        wanted = reference_actions(exact, normalizer, inputs, fit)
        raw, again = session.run(["actions"], inputs)[0], session.run(["actions"], inputs)[0]
        if not np.array_equal(raw, again):
            raise ExportError("the exported graph answers the same input differently")
        deviations.append(float(np.abs((raw.astype(np.float64) - center) / half - wanted).max()))
        rounding.append(float(np.abs(reference_actions(policy, normalizer, inputs, fit) - wanted).max()))
    if not deviations:
        raise ExportError("parity needs at least one sample")
    allowed = min(max(TOLERANCE, ROUNDING_FACTOR * max(rounding)), LIMIT)
    worst = int(np.argmax(deviations))  # NaN counts as the largest
    if not deviations[worst] <= allowed:
        raise ExportError(
            f"the exported graph deviates by {deviations[worst]:.2e} (normalised action units) in sample {worst + 1}, "
            f"wanted at most {allowed:.0e}"
        )
    return ParityReport(
        samples=len(deviations),
        max_deviation=deviations[worst],
        median_deviation=float(np.median(deviations)),
        max_rounding=max(rounding),
    )
