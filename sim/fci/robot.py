"""The robot behind the server: its modes, motions, reflexes and settings. No sockets, no clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.fci.bounds import inside
from sim.fci.contact import ACCELERATING, ContactMonitor
from sim.fci.control import Command, Guiding
from sim.fci.filters import Filters
from sim.fci.generators import is_singular
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics, load_torque
from sim.fci.limits import limits_of
from sim.fci.motion import Arm, Laws, Motion, MoveRequest, laws_for
from sim.fci.reference import Brake, Reference, ReflexError
from sim.fci.self_collision import SelfCollision
from sim.fci.state import StateBuffer
from sim.fci.wire import Controller, Error, Generator, Protocol, RobotMode

Vector = NDArray[np.float64]

LOST_COMMANDS_TO_REFLEX = 20
RATED_COMMANDS = 100
"""The success rate is that of this many commands."""
SENSE_CYCLES = 20
"""The wrench at the end effector is computed this rarely while nothing touches the arm, and so are self-collisions."""
MS = 1_000_000
TOUCH_NM = 0.02
_UNTOUCHED = [TOUCH_NM] * 7
RECOVERY_CYCLES = 20
RECOVERY_RAD_S = 0.2
"""Error recovery brings a joint that is past its limit back inside this fast."""
INSIDE_RAD = 2e-3
CARTESIAN = (Generator.CARTESIAN_POSITION, Generator.CARTESIAN_VELOCITY)


class Robot:
    """Turns commands into joint torques and says what the robot would say; holds its pose when nobody commands."""

    def __init__(self, arm: Arm, protocol: Protocol) -> None:
        """Hold the arm where it is."""
        self.mode = RobotMode.IDLE
        self.motion: Motion | None = None
        self.ended: str | None = None
        """How the last motion ended (a key of `Protocol.move_status`), until somebody takes it."""
        self.free_in_guiding = np.ones(7, bool)
        """(7,) x, y, z, R, P, Y, elbow: what a hand may move in guiding mode."""
        self.filters = Filters()
        self.arm = arm
        self.limits = limits_of(arm.robot, protocol.version)
        self._kinematics = ArmKinematics(arm.model)
        self._reference = Reference(q_rad=arm.q_rad.copy(), pose=self._kinematics.pose(arm.q_rad))
        self._reference.rest()
        self.laws: Laws = laws_for(arm, self.limits, self._kinematics)
        self._brake = Brake(self._kinematics, self._reference, self.limits)
        self._state = StateBuffer(protocol, arm)
        self.contacts = ContactMonitor(self._kinematics, self._state)
        self._self_collision = SelfCollision(arm.model, arm.data)
        self._guiding: Guiding | None = None
        self._tau, self._load_nm = np.zeros(7), np.zeros(7)
        self._load: tuple[float, Vector] = (0.0, np.zeros(3))
        self._lost, self._received, self._recovering = 0, 0, 0
        self._pose = self._measured_pose()

    # --- every millisecond -----------------------------------------------------------------------------------------

    def state(self, message_id: int) -> bytearray:
        """The present in wire format; what is found here may stop a motion."""
        arm = self.arm
        self._pose, before = self._measured_pose(), self._pose
        if self._load[0] > 0.0 and not isinstance(arm, KinematicArm):
            self._load_nm = load_torque(arm, *self._load)
        external = arm.tau_ext_nm - self._load_nm
        senses = arm.time_ns // MS % SENSE_CYCLES == 0  # by the world's time: clocks of robots may run apart from it
        if senses or not inside(external, _UNTOUCHED):
            moving = np.abs(self._reference.ddq_rad_s2) > ACCELERATING * self.limits.ddq_rad_s2
            error = self.contacts.sense(arm.q_rad, self._pose, external, bool(moving.any()))
            if error is not None and self.motion is not None:
                self.reflex(error)
        if self.motion is not None:
            self._watch(before, senses)
        buffer = self._state.write(
            message_id, self._reference, self._pose, self._tau, arm.gravity_nm + self._load_nm, external
        )
        self._write_mode()
        return buffer

    def last_state(self) -> bytearray:
        """The same bytes again."""
        return self._state.bytes

    def torque(self, command: Command | None, expected: bool) -> Vector:
        """(7,) Nm for the next millisecond, gravity of arm and hand apart.

        Args:
            command: Views of the client's command, or None when there is none.
            expected: Whether a command should have come: without one it then counts as lost.
        """
        if self.motion is not None and (command is not None or expected or self.motion.asynchronous):
            try:
                self._tau = self._follow(self.motion, command)
                return self._tau + self._load_nm
            except ReflexError as reflex:
                self.reflex(reflex.error)
        if self._guiding is not None:
            self._go_along()
            self._tau = self._guiding.torque(self._reference, None)
        else:
            if self._recovering:
                self._recover_a_bit()
            self._brake.advance()
            self._tau = self.laws.joint.torque(self._reference, None)
        return self._tau + self._load_nm

    def _follow(self, motion: Motion, command: Command | None) -> Vector:
        if motion.generator_mode is Generator.NONE:
            self._go_along()
        if not motion.asynchronous:
            self._received = (self._received << 1 | (command is not None)) & ((1 << RATED_COMMANDS) - 1)
        if command is None:
            self._lost += not motion.asynchronous
            if self._lost >= LOST_COMMANDS_TO_REFLEX:
                raise ReflexError(Error.COMMUNICATION_CONSTRAINTS_VIOLATION)
            return motion.torque(None)
        self._lost = 0
        if command["motion_finished"] or ("torque_finished" in command and command["torque_finished"]):
            motion.finish(command)
            self._end_motion("success", RobotMode.IDLE)
            return self.laws.joint.torque(self._reference, None)
        return motion.torque(command)

    def _watch(self, before: Vector, senses: bool) -> None:
        """Errors that show in the arm itself."""
        x, y, z = (self._pose[:3, 3] - before[:3, 3]).tolist()
        if (x * x + y * y + z * z) ** 0.5 > 1e-3 * self.limits.speed[0] * self.limits.rounding[1]:
            self.reflex(Error.CARTESIAN_VELOCITY_VIOLATION)
        elif senses and self._self_collision.distance_m() < 0.0:
            self.reflex(Error.SELF_COLLISION_AVOIDANCE_VIOLATION)

    def _measured_pose(self) -> Vector:
        return self._kinematics.with_tool(self.arm.ee_pose())

    def _write_mode(self) -> None:
        motion = self.motion
        if motion is None:
            self._state.write_mode(self.mode, Generator.IDLE, Controller.OTHER, 0.0, 0.0)
        else:
            rate = self._received.bit_count() / RATED_COMMANDS
            self._state.write_mode(self.mode, motion.generator_mode, motion.controller, motion.commanded_nm, rate)

    # --- motions ---------------------------------------------------------------------------------------------------

    def start_motion(self, request: MoveRequest) -> str:
        """Enter a control mode; returns "started" or why not (keys of `Protocol.move_status`)."""
        if self.mode is not RobotMode.IDLE:
            return "not_possible"
        velocity = request.async_velocity_rad_s
        deviations = (*request.max_path_deviation, *request.max_goal_deviation)
        if not all(value >= 0.0 for value in deviations) or (velocity is not None and not (velocity > 0.0).all()):
            return "invalid"
        if request.generator is Generator.NONE and request.controller is not Controller.EXTERNAL:
            return "invalid"
        if request.generator in CARTESIAN and is_singular(self._kinematics, self._reference.q_rad):
            return "singular"
        self._rest_at(self._reference.q_rad)
        self.motion = Motion(request, self.arm, self._kinematics, self._reference, self.limits, self.filters, self.laws)
        self.mode, self.ended, self._lost = RobotMode.MOVE, None, 0
        self._received = (1 << RATED_COMMANDS) - 1
        self._state.fields["reflex_reason"][:] = False
        return "started"

    def stop(self) -> None:
        """End a motion from outside; the arm comes to rest and holds."""
        if self.motion is not None:
            self._end_motion("preempted", RobotMode.IDLE)

    def reflex(self, error: Error) -> None:
        """Stop the arm and refuse to move until somebody recovers it."""
        for flags in ("errors", "reflex_reason"):
            self._state.fields[flags][:] = False
            self._state.fields[flags][error] = True
        self._recovering = 0
        self._end_motion("reflex", RobotMode.REFLEX)

    def recover(self) -> str:
        """Leave the reflex mode; "success", "not_possible" or, while it takes its time, "pending"."""
        if self.mode is RobotMode.IDLE:
            return "success"
        if self.mode is not RobotMode.REFLEX:
            return "not_possible"
        self._state.fields["errors"][:] = False
        self.contacts.forget_collisions()
        self._reference.q_rad = self.arm.q_rad.copy() if self._far_off() else self._reference.q_rad
        self.mode, self._recovering = RobotMode.RECOVERY, RECOVERY_CYCLES
        return "pending"

    def press_user_stop(self, pressed: bool) -> None:
        """Press the operator's stop button, which aborts a running motion, or let it go."""
        if pressed:
            self._interrupt("user_stop", RobotMode.USER_STOPPED)
        elif self.mode is RobotMode.USER_STOPPED:
            self._resume()

    def guide(self, guided: bool) -> None:
        """Take the arm by the hand, which aborts a running motion, or let it go: it holds where it was left."""
        if guided:
            self._interrupt("aborted", RobotMode.GUIDING)
            if not isinstance(self.arm, KinematicArm):
                self._guiding = Guiding(self.arm, self._kinematics, self.free_in_guiding)
        elif self.mode is RobotMode.GUIDING:
            self._rest_at(self.arm.q_rad)
            self._resume()

    def place_arm(self, q_rad: Vector, width_m: float) -> None:
        """Teleport the arm, at rest; a running motion is cut off."""
        self.stop()
        self.arm.place_arm(q_rad, width_m)
        self.arm.tau_ext_nm[:] = 0.0  # of where it was
        self._rest_at(self.arm.q_rad)
        self._pose = self._measured_pose()

    def _interrupt(self, how: str, mode: RobotMode) -> None:
        self._guiding, self._recovering = None, 0
        if self.motion is not None:
            self._end_motion(how, mode)
        self.mode = mode

    def _resume(self) -> None:
        self._guiding = None
        self.mode = RobotMode.REFLEX if self._state.fields["errors"].any() else RobotMode.IDLE

    def _end_motion(self, how: str, mode: RobotMode) -> None:
        motion, self.motion, self.mode = self.motion, None, mode
        if motion is None:
            return
        self.ended = how
        reference = self._reference
        if motion.controller is not Controller.JOINT_IMPEDANCE or self._far_off():
            reference.q_rad = self.arm.q_rad.copy()  # a compliant arm stops where it is, not where it should be
            reference.dq_rad_s = self.arm.dq_rad_s.copy()
        reference.pose = self._kinematics.pose(reference.q_rad)
        if reference.resting:
            reference.rest()

    def _go_along(self) -> None:
        """The set-point of an arm that others move is where it is."""
        self._reference.q_rad[:] = self.arm.q_rad
        self._reference.pose = self._pose

    def _far_off(self) -> bool:
        """Whether the arm could not follow its set-point: then it must not snap back to it."""
        return bool((np.abs(self._reference.q_rad - self.arm.q_rad) > 0.02).any())

    def _recover_a_bit(self) -> None:
        """Pull joints inside their travel; done when they are and the time is over."""
        limits, q = self.limits, self._reference.q_rad
        inside = np.clip(q, limits.q_min_rad + INSIDE_RAD, limits.q_max_rad - INSIDE_RAD)
        step = 1e-3 * RECOVERY_RAD_S
        self._reference.q_rad = q + np.clip(inside - q, -step, step)
        self._recovering = max(1, self._recovering - 1)
        if self._recovering == 1 and np.array_equal(self._reference.q_rad, inside) and self._reference.resting:
            self._rest_at(self._reference.q_rad)
            self._recovering, self.mode = 0, RobotMode.IDLE

    def _rest_at(self, q_rad: Vector) -> None:
        self._reference.q_rad = q_rad.copy()
        self._reference.pose = self._kinematics.pose(q_rad)
        self._reference.rest()

    # --- settings --------------------------------------------------------------------------------------------------

    def set_tool(self, ne_T_ee: Vector) -> None:
        """Mount something beyond the nominal end effector: (4, 4)."""
        fields = self._state.fields
        fields["NE_T_EE"][:] = ne_T_ee.ravel(order="F")
        fields["F_T_EE"][:] = (fields["F_T_NE"].reshape(4, 4).T @ ne_T_ee).ravel(order="F")
        self._kinematics.ne_T_ee = ne_T_ee
        self._rest_at(self._reference.q_rad)
        self._pose = self._measured_pose()

    def set_stiffness_frame(self, ee_T_k: Vector) -> None:
        """Report wrenches, and be stiff, in this frame: (4, 4)."""
        self._state.fields["EE_T_K"][:] = ee_T_k.ravel(order="F")
        self.contacts.ee_T_k = self.laws.cartesian.ee_T_k = ee_T_k

    def set_load(self, mass_kg: float, com_m: Vector, inertia_kg_m2: Vector) -> None:
        """Carry this from now on: its weight is held like the hand's. COM (3,) and inertia (9,) in the flange frame."""
        for name, value in (("m_load", mass_kg), ("F_x_Cload", com_m), ("I_load", inertia_kg_m2)):
            self._state.fields[name][:] = value
        self._load = (mass_kg, com_m)
        self._load_nm = np.zeros(7)
