"""The gate in front of every bundle: the exported graph must compute what the plain torch sampler computes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.data.windows import Windows
from d2ppo_core.errors import ExportError
from d2ppo_core.models.policy import ChunkPolicy

TOLERANCE = 5e-6
"""Largest allowed deviation, in normalised action units."""

Inputs = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """Deviation of the graph from the torch sampler, in normalised action units."""

    samples: int
    max_deviation: float
    median_deviation: float
    """Median over the samples of each one's largest deviation."""


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


def reference_actions(policy: ChunkPolicy, normalizer: Normalizer, inputs: Inputs) -> npt.NDArray[np.float32]:
    """Normalised actions (1, Tp, Da) of the plain torch sampler in float32."""
    state = torch.from_numpy(normalizer.state.normalize(inputs["state"]))
    images = torch.from_numpy(inputs["images"]) if "images" in inputs else None
    return np.asarray(policy.sample(state, images, torch.from_numpy(inputs["noise"])).numpy(), dtype=np.float32)


def check_parity(
    session: ort.InferenceSession,
    policy: ChunkPolicy,
    normalizer: Normalizer,
    samples: Iterator[Inputs],
    tolerance: float = TOLERANCE,
) -> ParityReport:
    """Compare graph and torch on every sample.

    Raises ExportError when one deviates by more than `tolerance`, is not finite, or repeats differently.
    """
    deviations = []
    for inputs in samples:
        wanted = reference_actions(policy, normalizer, inputs)
        raw, again = session.run(["actions"], inputs)[0], session.run(["actions"], inputs)[0]
        if not np.array_equal(raw, again):
            raise ExportError("the exported graph answers the same input differently")
        # float64 here: undoing the action's scale must not add rounding of its own
        center, half = normalizer.action.center.astype(np.float64), normalizer.action.half.astype(np.float64)
        deviation = np.abs((raw.astype(np.float64) - center) / half - wanted).max()
        deviations.append(float(deviation))
        if not deviation <= tolerance:
            raise ExportError(
                f"the exported graph deviates by {deviation:.2e} (normalised action units) in sample "
                f"{len(deviations)}, wanted at most {tolerance:.0e}"
            )
    if not deviations:
        raise ExportError("parity needs at least one sample")
    return ParityReport(
        samples=len(deviations), max_deviation=max(deviations), median_deviation=float(np.median(deviations))
    )
