"""The robot behind the server: its modes, motions, reflexes and settings. No sockets, no clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.fci.kinematics import ArmKinematics
from sim.fci.motion import (
    CartesianMotion,
    JointController,
    JointMotion,
    Motion,
    Reference,
    ReflexError,
    TorqueMotion,
)
from sim.fci.state import StateBuffer
from sim.fci.wire import Controller, Error, Generator, Protocol, RobotMode
from sim.world import World

Vector = NDArray[np.float64]

LOST_COMMANDS_TO_REFLEX = 20
SENSE_CYCLES = 20
"""The wrench at the end effector is computed this rarely while nothing touches the arm."""
TOUCH_NM = 0.02


class Robot:
    """Turns commands into joint torques and says what the robot would say; holds its pose when nobody commands."""

    def __init__(self, world: World, protocol: Protocol) -> None:
        """Hold the arm where the world has it."""
        self.mode = RobotMode.IDLE
        self.motion: Motion | None = None
        self.ended: str | None = None
        """How the last motion ended ("success", "preempted", "reflex", "user_stop"), until somebody takes it."""
        self._world = world
        self._kinematics = ArmKinematics(world.model)
        self._inner = JointController(world)
        self._reference = Reference(q_rad=world.q_rad.copy(), pose=self._kinematics.pose(world.q_rad))
        self._state = StateBuffer(protocol, world)
        self._collision_nm, self._collision_n = np.full(7, np.inf), np.full(6, np.inf)
        self._tau = np.zeros(7)
        self._lost = 0

    # --- every millisecond -----------------------------------------------------------------------------------------

    def state(self, message_id: int) -> bytearray:
        """The present in wire format; a collision seen here stops a motion."""
        pose = self._world.ee_pose() @ self._kinematics.ne_T_ee
        if np.abs(self._world.tau_ext_nm).max() > TOUCH_NM or message_id % SENSE_CYCLES == 0:
            self._sense(pose)
        return self._state.write(message_id, self._reference, self.motion, self.mode, pose, self._tau)

    def last_state(self) -> bytearray:
        """The same bytes again."""
        return self._state.bytes

    def torque(self, command: dict[str, Vector] | None, expected: bool) -> Vector:
        """(7,) Nm for the next millisecond.

        Args:
            command: Views of the client's command, or None when there is none.
            expected: Whether a command should have come: without one it then counts as lost.
        """
        if self.motion is not None and (command is not None or expected):
            try:
                self._tau = self._follow(self.motion, command)
                return self._tau
            except ReflexError as reflex:
                self._reflex(reflex.error)
        self._tau = self._inner.torque(self._reference)
        return self._tau

    def _follow(self, motion: Motion, command: dict[str, Vector] | None) -> Vector:
        if command is None:
            self._lost += 1
            if self._lost >= LOST_COMMANDS_TO_REFLEX:
                raise ReflexError(Error.COMMUNICATION)
            return motion.torque(None)
        self._lost = 0
        if command["motion_finished"] or ("torque_finished" in command and command["torque_finished"]):
            self._end_motion("success", RobotMode.IDLE)
            return self._inner.torque(self._reference)
        return motion.torque(command)

    def _sense(self, pose: Vector) -> None:
        """External wrench from the external torques, and whether either is a collision."""
        external = self._world.tau_ext_nm
        self._kinematics.pose(self._world.q_rad)
        jacobian = self._kinematics.jacobian(pose)
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-6
        wrench = np.asarray(np.linalg.solve(gram, jacobian @ external), np.float64)
        self._state.write_wrench(wrench, pose)
        if self.motion is None:
            return
        if (np.abs(external) > self._collision_nm).any():
            self._reflex(Error.JOINT_REFLEX)
        elif (np.abs(wrench) > self._collision_n).any():
            self._reflex(Error.CARTESIAN_REFLEX)

    # --- motions ---------------------------------------------------------------------------------------------------

    def start_motion(self, controller: int, generator: int) -> bool:
        """Enter a control mode, given as a Move request numbers it; False when the robot is not idle."""
        if self.mode is not RobotMode.IDLE:
            return False
        mode = Generator(generator + 1)
        self._rest_at(self._reference.q_rad)
        if controller == Controller.EXTERNAL:
            self.motion = TorqueMotion(self._world, self._reference, mode)
        elif mode in (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY):
            self.motion = JointMotion(self._kinematics, self._reference, self._inner, mode)
        else:
            self.motion = CartesianMotion(self._kinematics, self._reference, self._inner, mode)
        self.motion.controller = Controller(controller)
        self.mode, self.ended, self._lost = RobotMode.MOVE, None, 0
        self._state.fields["reflex_reason"][:] = False
        return True

    def stop(self) -> None:
        """End a motion from outside; the arm holds where its reference is."""
        if self.motion is not None:
            self._end_motion("preempted", RobotMode.IDLE)

    def recover(self) -> None:
        """Leave the reflex mode."""
        self._state.fields["errors"][:] = False
        self.mode = RobotMode.IDLE

    def press_user_stop(self, pressed: bool) -> None:
        """Press the operator's stop button, which aborts a running motion, or let it go."""
        if not pressed and self.mode is RobotMode.USER_STOPPED:
            self.mode = RobotMode.IDLE
        elif pressed and self.motion is not None:
            self._end_motion("user_stop", RobotMode.USER_STOPPED)
        elif pressed:
            self.mode = RobotMode.USER_STOPPED

    def place_arm(self, q_rad: Vector, width_m: float) -> None:
        """Teleport the arm, at rest; a running motion is cut off."""
        self.stop()
        self._world.place_arm(q_rad, width_m)
        self._rest_at(self._world.q_rad)

    def _end_motion(self, how: str, mode: RobotMode) -> None:
        self.motion, self.mode, self.ended = None, mode, how
        self._rest_at(self._reference.q_rad)

    def _reflex(self, error: Error) -> None:
        for flags in ("errors", "reflex_reason"):
            self._state.fields[flags][:] = False
            self._state.fields[flags][error] = True
        self._end_motion("reflex", RobotMode.REFLEX)

    def _rest_at(self, q_rad: Vector) -> None:
        self._reference.q_rad = q_rad.copy()
        self._reference.pose = self._kinematics.pose(q_rad)
        self._reference.rest()

    # --- settings --------------------------------------------------------------------------------------------------

    def set_collision_thresholds(self, torque_nm: Vector, force_n: Vector) -> None:
        """External joint torques (7,) and wrench (6,) above which a motion ends in a reflex."""
        self._collision_nm[:], self._collision_n[:] = torque_nm, force_n

    def set_tool(self, ne_T_ee: Vector) -> None:
        """Mount something beyond the nominal end effector: (4, 4)."""
        fields = self._state.fields
        fields["NE_T_EE"][:] = ne_T_ee.ravel(order="F")
        fields["F_T_EE"][:] = (fields["F_T_NE"].reshape(4, 4).T @ ne_T_ee).ravel(order="F")
        self._kinematics.ne_T_ee = ne_T_ee
        self._rest_at(self._reference.q_rad)

    def set_stiffness_frame(self, ee_T_k: Vector) -> None:
        """Report wrenches in this frame: (4, 4)."""
        self._state.fields["EE_T_K"][:] = ee_T_k.ravel(order="F")

    def set_load(self, mass_kg: float, com_m: Vector, inertia_kg_m2: Vector) -> None:
        """Report a load: centre of mass (3,) and inertia (9,) in the flange frame."""
        for name, value in (("m_load", mass_kg), ("F_x_Cload", com_m), ("I_load", inertia_kg_m2)):
            self._state.fields[name][:] = value
