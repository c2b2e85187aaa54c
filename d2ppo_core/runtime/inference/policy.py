"""Runs a policy bundle in ONNX Runtime: one call is a whole chunk, denoising loop included."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from d2ppo_core.bundle import Bundle
from d2ppo_core.errors import BundleError

GOLDEN_TOLERANCE = 1e-3
"""Largest deviation from the golden actions, in action units; other processors round differently."""

_GOLDEN_S = 10.0

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class Policy:
    """A verified bundle, loaded and warm."""

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        """Load the graph, check its signature and reproduce the golden example.

        Args:
            bundle: Bundle whose checksums have been verified.
            device: ``cpu``, ``cuda`` or ``tensorrt``. A device that is asked for is used or refused, never replaced.

        Raises:
            BundleError: The graph does not fit the manifest, the device or the golden example.
        """
        self.bundle = bundle
        self.manifest = bundle.manifest
        self._session = _open(bundle, device)
        self.provider: str = self._session.get_providers()[0]
        self._check_signature()
        self._check_golden()

    def infer(
        self, inputs: Mapping[str, npt.NDArray[Any]], options: ort.RunOptions | None = None
    ) -> npt.NDArray[np.float32]:
        """Sample one chunk.

        Args:
            inputs: ``state`` (1, Ds) float32, ``noise`` (1, Tp, Da) float32 and, for image policies, ``images``
                (1, Ncam, H, W, 3) uint8. Equal inputs give bit-identical actions.
            options: Of ONNX Runtime, e.g. to end a run from another thread.

        Returns:
            Actions (Tp, Da) in the units of the dataset.
        """
        answer = self._session.run(["actions"], dict(inputs), options)[0]
        actions: npt.NDArray[np.float32] = np.asarray(answer, np.float32)[0]
        return actions

    def _check_signature(self) -> None:
        wanted = self.manifest.input_shapes
        got = {node.name: tuple(node.shape) for node in self._session.get_inputs()}
        if got != wanted:
            raise BundleError(f"graph of bundle {self.manifest.name} takes {got}, its manifest says {wanted}")

    def _check_golden(self) -> None:
        name, golden = self.manifest.name, self.bundle.golden
        wanted = {**self.manifest.input_shapes, "actions": (1, self.manifest.pred_horizon, self.manifest.action.dim)}
        arrays = {**golden.inputs, "actions": golden.actions}
        got = {key: array.shape for key, array in arrays.items()}
        if got != wanted:
            raise BundleError(f"golden example of bundle {name}: {_listed(got)}; its manifest says {_listed(wanted)}")
        for key, array in arrays.items():
            if array.dtype != (np.uint8 if key == "images" else np.float32) or not np.isfinite(array).all():
                raise BundleError(f"golden example of bundle {name}: {key} is not finite or of type {array.dtype}")
        try:
            answer = self._infer_in_time(golden.inputs)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            raise BundleError(f"graph of bundle {name} fails on its golden example: {_line(error)}") from error
        if answer.shape != wanted["actions"][1:]:
            raise BundleError(f"graph of bundle {name} answers {answer.shape}, wanted {wanted['actions'][1:]}")
        deviation = float(np.abs(answer - golden.actions[0]).max())
        if not deviation <= GOLDEN_TOLERANCE:
            allowed = f"(allowed {GOLDEN_TOLERANCE})"
            raise BundleError(f"bundle {name} misses its golden example by {deviation:.2g} {allowed}")

    def _infer_in_time(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Sample one chunk, or give up after a while: a graph may hold a loop that never ends."""
        options = ort.RunOptions()
        timer = threading.Timer(_GOLDEN_S, lambda: setattr(options, "terminate", True))
        timer.start()
        try:
            return self.infer(inputs, options)
        finally:
            timer.cancel()


def _open(bundle: Bundle, device: str) -> ort.InferenceSession:
    if device not in _PROVIDERS:
        raise BundleError(f"device must be one of {sorted(_PROVIDERS)}, got '{device}'")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if device != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(
            str(bundle.onnx_path),
            options,
            [_PROVIDERS[device]],
            disabled_optimizers=["SkipLayerNormFusion"],
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        raise BundleError(
            f"ONNX Runtime cannot open bundle {bundle.manifest.name} on {device}: {_line(error)}"
        ) from error
    if session.get_providers()[0] != _PROVIDERS[device]:
        raise BundleError(
            f"{device} was asked for, ONNX Runtime offers {session.get_providers()}; install d2ppo-panda[gpu]"
        )
    return session


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items()))[:300]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
