"""The Franka Hand's two coupled fingers: a position servo with a speed and a force, in simulated time."""

from __future__ import annotations

import mujoco
import numpy as np

MAX_WIDTH_M = 0.08
MAX_SPEED_M_S = 0.1
MAX_FORCE_N = 70.0


class Fingers:
    """Moves the set-point of the servos at the commanded speed, never further than the force needs."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, arm: int = 0) -> None:
        """Hold the fingers of the world's arm of this number where they are."""
        self._model, self._data = model, data
        joints = [f"gripper{arm}_right_finger_joint{i}" for i in (1, 2)]
        self._servos = np.array([model.actuator(f"{name}_servo").id for name in joints])
        self._wanted_m = [data.ctrl[i : i + 1] for i in self._servos]
        self._positions = np.array([model.joint(name).qposadr[0] for name in joints])
        self._velocities = np.array([model.joint(name).dofadr[0] for name in joints])
        self._signs = np.array([1.0, -1.0])
        self._kp = float(model.actuator_gainprm[self._servos[0], 0])
        self._dt_s = float(model.opt.timestep)
        self.blocked = False
        """Whether something from outside this world holds the fingers."""
        self.speed_share = 1.0
        """Of the commanded speed, that the drive reaches."""
        self.hold()

    @property
    def width_m(self) -> float:
        """Measured opening."""
        left, right = self._data.qpos[self._positions]
        return float(left - right)

    @property
    def speed_m_s(self) -> float:
        """Measured rate of the opening, positive when it opens."""
        left, right = self._data.qvel[self._velocities]
        return float(left - right)

    @property
    def pressing(self) -> bool:
        """Whether the motion is over: the set-point has arrived, or an object takes the whole commanded force."""
        behind_m = abs(self._setpoint_m - self.width_m) / 2.0
        return self._setpoint_m == self._target_m or behind_m * self._kp >= self._force_n

    def place(self, width_m: float) -> None:
        """Put the fingers at a width at once, without dynamics."""
        self._data.qpos[self._positions] = self._signs * width_m / 2.0
        self._data.qvel[self._velocities] = 0.0
        self.hold()

    def hold(self) -> None:
        """Stop where the fingers are."""
        self.command(self.width_m, MAX_SPEED_M_S, MAX_FORCE_N)
        self._setpoint_m = self._target_m

    def command(self, width_m: float, speed_m_s: float, force_n: float) -> None:
        """Head for a width; wanted values beyond the hand's range are clipped as the hand does."""
        self._target_m = min(max(width_m, 0.0), MAX_WIDTH_M)
        self._setpoint_m = self.width_m
        self._step_m = min(max(speed_m_s, 1e-3), MAX_SPEED_M_S) * self._dt_s
        self._force_n = min(max(force_n, 1.0), MAX_FORCE_N)
        self._model.actuator_forcerange[self._servos] = (-self._force_n, self._force_n)

    def advance(self) -> None:
        """Move the set-point by one time step."""
        if self._setpoint_m != self._target_m:
            gap = self._target_m - self._setpoint_m
            step_m = self.speed_share * self._step_m
            self._setpoint_m += min(max(gap, -step_m), step_m)
        if not self.blocked:
            left, right = self._wanted_m
            left[0], right[0] = self._setpoint_m / 2.0, -self._setpoint_m / 2.0
