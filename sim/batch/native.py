"""The compiled kernel: worlds stepped by threads, without Python in between."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import WorldError
from sim.batch.build import library
from sim.batch.layout import ACTION_SIZE, Layout
from sim.batch.linear_algebra import routines

_POINTER, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_int, ctypes.c_double


class _Options(ctypes.Structure):
    _fields_ = [
        (name, _INT)
        for name in ("worlds", "threads", "pin", "substeps", "arms", "step_taps", "observation_taps", "segments")
    ]


class NativeKernel:
    """N worlds of one layout. Not for use by several threads at once; `close` it or let it be collected."""

    observations: NDArray[np.float64]
    """(N, width) observation taps after the latest step or reset; overwritten by the next."""
    parameters: NDArray[np.float64]
    """(N, P) live: a world's row is written into the model before that world is stepped."""

    def __init__(
        self,
        model: mujoco.MjModel,
        layout: Layout,
        num_envs: int,
        *,
        num_threads: int = 1,
        pin: bool = False,
        exact: bool = False,
    ) -> None:
        """Make the worlds; they have no defined state before the first `reset`.

        `exact` lets the controllers compute with the library calls of robosuite, in its order.

        Raises:
            WorldError: the kernel cannot be compiled or belongs to another MuJoCo.
        """
        self._lib = _load()
        self._handle: int | None = None
        self.model, self.layout, self.num_envs = model, layout, num_envs
        self.data = [mujoco.MjData(model) for _ in range(num_envs)]
        self.observations = np.zeros((num_envs, layout.observation_taps.width))
        self.parameters = np.tile(layout.table.row(model), (num_envs, 1))
        options = _Options(
            num_envs, num_threads, int(pin), layout.substeps, len(layout.arms),
            len(layout.step_taps.entries), len(layout.observation_taps.entries), len(layout.table.addresses),
        )  # fmt: skip
        self._handle = self._lib.batch_new(
            model._address,
            (_POINTER * num_envs)(*(data._address for data in self.data)),
            ctypes.byref(options),
            _ints([number for arm in layout.arms for number in arm.flat()]),
            _ints([number for tap in layout.step_taps.entries for number in tap]),
            _ints([number for tap in layout.observation_taps.entries for number in tap]),
            layout.geom_groups.ctypes.data,
            self._segments(),
            routines() if exact else None,
        )
        self._lib.batch_set_parameters(self._handle, self.parameters.ctypes.data, layout.table.width)
        self.state_size: int = self._lib.batch_state_size(self._handle)

    def reset(
        self,
        mask: NDArray[np.bool_],
        home: NDArray[np.float64],
        qpos: NDArray[np.float64],
        qvel: NDArray[np.float64],
    ) -> None:
        """Start episodes in the worlds of `mask` (N,) and read their observations.

        Args:
            mask: Which worlds.
            home: (N, arms, 7) arm joints at which the controllers start, rad: robosuite measures there, and holds
                this posture in the null space, even where the state is then set to something else.
            qpos: (N, nq).
            qvel: (N, nv).
        """
        mask = _array(mask, np.uint8, (self.num_envs,))
        home = _array(home, np.float64, (self.num_envs, len(self.layout.arms), 7))
        qpos = _array(qpos, np.float64, (self.num_envs, self.model.nq))
        qvel = _array(qvel, np.float64, (self.num_envs, self.model.nv))
        arrays = (mask, home, qpos, qvel, self.observations)
        self._lib.batch_reset(self._handle, *(array.ctypes.data for array in arrays))

    def step(
        self, actions: NDArray[np.float64], steps: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Let world i execute the first `steps[i]` of its actions and read its observation.

        Args:
            actions: (N, T, arms * 7) in [-1, 1].
            steps: (N,) 0 ... T.

        Returns:
            (N, T, width) step taps, undefined beyond `steps`; (N,) whether the simulation diverged.
        """
        horizon = actions.shape[1]
        actions = _array(actions, np.float64, (self.num_envs, horizon, len(self.layout.arms) * ACTION_SIZE))
        steps = _array(steps, np.int32, (self.num_envs,))
        rows = np.empty((self.num_envs, horizon, self.layout.step_taps.width))
        diverged = np.empty(self.num_envs, np.uint8)
        self._lib.batch_step(
            self._handle, actions.ctypes.data, horizon, steps.ctypes.data, rows.ctypes.data,
            self.observations.ctypes.data, diverged.ctypes.data,
        )  # fmt: skip
        return rows, diverged.astype(bool)

    def set_controller(
        self, env: int, *, kp: float, damping_ratio: float, action_delay: int, observation_delay: int
    ) -> None:
        """Change one world's controller: gain (1/s^2), damping ratio, delays in substeps of 2 ms (0 ... 24)."""
        self._lib.batch_set_controller(self._handle, env, kp, damping_ratio, action_delay, observation_delay)

    def save(self) -> NDArray[np.float64]:
        """(N, state_size) everything the next step depends on, the parameters excepted."""
        states = np.empty((self.num_envs, self.state_size))
        self._lib.batch_save(self._handle, states.ctypes.data)
        return states

    def load(self, mask: NDArray[np.bool_], states: NDArray[np.float64]) -> None:
        """Put back what `save` gave; continuing repeats bit by bit."""
        mask = _array(mask, np.uint8, (self.num_envs,))
        states = _array(states, np.float64, (self.num_envs, self.state_size))
        self._lib.batch_load(self._handle, mask.ctypes.data, states.ctypes.data)

    def close(self) -> None:
        """Stop the threads; a second call does nothing."""
        if self._handle is not None:
            self._lib.batch_delete(self._handle)
            self._handle = None

    def __del__(self) -> None:
        """Free the worlds when nobody closed them."""
        if getattr(self, "_handle", None) is not None:
            self.close()

    def _segments(self) -> ctypes.Array[ctypes.c_int64]:
        buffer = self._lib.batch_model_buffer(self.model._address)
        numbers: list[int] = []
        for address, count in self.layout.table.addresses:
            numbers += [-1 if address is None else address - buffer, count]
        return (ctypes.c_int64 * len(numbers))(*numbers)


@cache
def _load() -> Any:
    lib = ctypes.CDLL(str(library()))
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "batch_mujoco_version": (_INT, ()),
        "batch_model_buffer": (_POINTER, (_POINTER,)),
        "batch_new": (_POINTER, (_POINTER,) * 9),
        "batch_delete": (None, (_POINTER,)),
        "batch_set_parameters": (None, (_POINTER, _POINTER, _INT)),
        "batch_set_controller": (None, (_POINTER, _INT, _DOUBLE, _DOUBLE, _INT, _INT)),
        "batch_reset": (None, (_POINTER,) * 6),
        "batch_step": (None, (_POINTER, _POINTER, _INT, *(_POINTER,) * 4)),
        "batch_state_size": (_INT, (_POINTER,)),
        "batch_save": (None, (_POINTER, _POINTER)),
        "batch_load": (None, (_POINTER, _POINTER, _POINTER)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if lib.batch_mujoco_version() != mujoco.mj_version():
        raise WorldError(
            f"the kernel runs on MuJoCo {lib.batch_mujoco_version()}, Python on {mujoco.mj_version()}: "
            "two versions are installed; keep one"
        )
    return lib


def _ints(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_int]:
    return (_INT * max(1, len(numbers)))(*numbers)


def _array(values: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.shape != shape:
        raise WorldError(f"the kernel wants shape {shape}, got {array.shape}")
    return array
