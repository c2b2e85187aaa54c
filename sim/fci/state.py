"""Writes the robot state of one millisecond into the bytes that go on the wire."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.fci.hand import F_T_EE, hand_load
from sim.fci.motion import Motion, Reference
from sim.fci.wire import Controller, Generator, Protocol, RobotMode, field_views
from sim.world import World

_IDENTITY = np.eye(4).ravel()


class StateBuffer:
    """One RobotState in wire format with a view per field, so that a millisecond copies numbers and nothing else."""

    def __init__(self, protocol: Protocol, world: World) -> None:
        """Fill in what does not change while the robot is on."""
        self.bytes = bytearray(protocol.state.itemsize)
        self.fields = field_views(self.bytes, protocol.state)
        load = hand_load(world.model)
        for name, value in {
            "F_T_EE": F_T_EE.ravel(order="F"), "F_T_NE": F_T_EE.ravel(order="F"),
            "EE_T_K": _IDENTITY, "NE_T_EE": _IDENTITY,
            "m_ee": load.mass_kg, "F_x_Cee": load.com_m, "I_ee": load.inertia_kg_m2.ravel(),
            "O_ddP_O": (0.0, 0.0, -9.81), "control_command_success_rate": 1.0,
        }.items():  # fmt: skip
            self.fields[name][:] = value
        self._world = world
        self._poses = {name: self.fields[name].reshape(4, 4) for name in ("O_T_EE", "O_T_EE_d", "O_T_EE_c")}

    def write(
        self,
        message_id: int,
        reference: Reference,
        motion: Motion | None,
        mode: RobotMode,
        pose: NDArray[np.float64],
        tau_nm: NDArray[np.float64],
    ) -> bytearray:
        """Pack the present: `pose` is the measured O_T_EE (4, 4), `tau_nm` the last commanded torques."""
        f, world = self.fields, self._world
        f["message_id"][0] = message_id
        f["q"][:] = f["theta"][:] = world.q_rad
        f["dq"][:] = f["dtheta"][:] = world.dq_rad_s
        f["q_d"][:] = reference.q_rad
        f["dq_d"][:] = reference.dq_rad_s
        f["ddq_d"][:] = reference.ddq_rad_s2
        f["tau_J"][:] = tau_nm + world.gravity_nm
        f["tau_ext_hat_filtered"][:] = world.tau_ext_nm
        self._poses["O_T_EE"][:] = pose.T
        self._poses["O_T_EE_d"][:] = self._poses["O_T_EE_c"][:] = reference.pose.T
        f["O_dP_EE_d"][:] = f["O_dP_EE_c"][:] = reference.twist
        f["O_ddP_EE_c"][:] = reference.acceleration
        sign = 1.0 if reference.q_rad[3] > 0.0 else -1.0
        f["elbow_d"][:] = f["elbow_c"][:] = reference.q_rad[2], sign
        f["elbow"][:] = world.q_rad[2], sign
        f["delbow_c"][0] = reference.dq_rad_s[2]
        f["ddelbow_c"][0] = reference.ddq_rad_s2[2]
        external = motion is not None and motion.controller is Controller.EXTERNAL
        f["tau_J_d"][:] = tau_nm if external else 0.0
        f["motion_generator_mode"][0] = Generator.IDLE if motion is None else motion.generator
        f["controller_mode"][0] = Controller.OTHER if motion is None else motion.controller
        f["robot_mode"][0] = mode
        return self.bytes

    def write_wrench(self, wrench: NDArray[np.float64], pose: NDArray[np.float64]) -> None:
        """External wrench (6,) at the end effector in the base frame, and the same in its own frame."""
        self.fields["O_F_ext_hat_K"][:] = wrench
        turned = wrench.reshape(2, 3) @ pose[:3, :3]
        self.fields["K_F_ext_hat_K"][:] = turned.ravel()
