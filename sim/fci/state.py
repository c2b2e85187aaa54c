"""Writes the robot state of one millisecond into the bytes that go on the wire."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.fci.hand import F_T_EE, hand_load
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.limits import ELBOW_FLIP_RAD
from sim.fci.reference import Reference
from sim.fci.wire import Protocol, RobotMode, field_views
from sim.world.arm import WorldArm
from sim.world.world import World

_IDENTITY = np.eye(4).ravel()


class StateBuffer:
    """One RobotState in wire format with a view per field, so that a millisecond copies numbers and nothing else."""

    def __init__(self, protocol: Protocol, world: World | WorldArm | KinematicArm) -> None:
        """Fill in what does not change while the robot is on."""
        self.bytes = bytearray(protocol.state.itemsize)
        self.fields = field_views(self.bytes, protocol.state)
        load = hand_load(world.model)
        for name, value in {
            "F_T_EE": F_T_EE.ravel(order="F"), "F_T_NE": F_T_EE.ravel(order="F"),
            "EE_T_K": _IDENTITY, "NE_T_EE": _IDENTITY,
            "m_ee": load.mass_kg, "F_x_Cee": load.com_m, "I_ee": load.inertia_kg_m2.ravel(),
            "O_ddP_O": (0.0, 0.0, -9.81),
        }.items():  # fmt: skip
            self.fields[name][:] = value
        self._world = world
        self._tau_nm = np.zeros(7)
        self._poses = {name: self.fields[name].reshape(4, 4) for name in ("O_T_EE", "O_T_EE_d", "O_T_EE_c")}

    def write(
        self,
        message_id: int,
        reference: Reference,
        pose: NDArray[np.float64],
        tau_nm: NDArray[np.float64],
        gravity_nm: NDArray[np.float64],
        external_nm: NDArray[np.float64],
    ) -> bytearray:
        """Pack the present.

        Args:
            message_id: The robot's clock, ms.
            reference: Its set-point.
            pose: (4, 4) measured O_T_EE.
            tau_nm: (7,) torques commanded last, without gravity.
            gravity_nm: (7,) of arm, hand and load.
            external_nm: (7,) estimated external torques.
        """
        f, world = self.fields, self._world
        f["message_id"][0] = message_id
        f["q"][:] = f["theta"][:] = world.q_rad
        f["dq"][:] = f["dtheta"][:] = world.dq_rad_s
        f["q_d"][:] = reference.q_rad
        f["dq_d"][:] = reference.dq_rad_s
        f["ddq_d"][:] = reference.ddq_rad_s2
        measured = tau_nm + gravity_nm
        f["dtau_J"][:] = (measured - self._tau_nm) * 1e3
        f["tau_J"][:] = self._tau_nm = measured
        f["tau_ext_hat_filtered"][:] = external_nm
        self._poses["O_T_EE"][:] = pose.T
        self._poses["O_T_EE_d"][:] = self._poses["O_T_EE_c"][:] = reference.pose.T
        f["O_dP_EE_d"][:] = f["O_dP_EE_c"][:] = reference.twist
        f["O_ddP_EE_c"][:] = reference.acceleration
        flip = 1.0 if reference.q_rad[3] > ELBOW_FLIP_RAD else -1.0
        f["elbow_d"][:] = f["elbow_c"][:] = reference.elbow_rad, flip
        f["elbow"][:] = world.q_rad[2], 1.0 if world.q_rad[3] > ELBOW_FLIP_RAD else -1.0
        f["delbow_c"][0] = reference.elbow_rad_s
        f["ddelbow_c"][0] = reference.elbow_rad_s2
        return self.bytes

    def write_mode(
        self,
        mode: RobotMode,
        generator: int,
        controller: int,
        commanded_nm: NDArray[np.float64] | float,
        success_rate: float,
    ) -> None:
        """Pack what the robot is doing: `commanded_nm` are a client's torques, zero when it sends none."""
        f = self.fields
        f["tau_J_d"][:] = commanded_nm
        f["motion_generator_mode"][0] = generator
        f["controller_mode"][0] = controller
        f["robot_mode"][0] = mode
        f["control_command_success_rate"][0] = success_rate
