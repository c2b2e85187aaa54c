"""One control mode between a Move request and its end: a generator of set-points, a control law, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.fci.control import CartesianImpedance, Command, ControlLaw, ExternalTorque, Ideal, JointImpedance
from sim.fci.filters import Filters
from sim.fci.generators import AsyncJointGenerator, CartesianGenerator, JointGenerator, MotionGenerator
from sim.fci.kinematic_arm import KinematicArm
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import Limits
from sim.fci.reference import Reference
from sim.fci.wire import Controller, Generator
from sim.world.arm import WorldArm
from sim.world.world import World

Vector = NDArray[np.float64]
Arm = World | WorldArm | KinematicArm


@dataclass(frozen=True, kw_only=True)
class MoveRequest:
    """What a client wants to control."""

    controller: Controller
    generator: Generator
    max_path_deviation: tuple[float, float, float] = (10.0, 3.12, 6.28)
    max_goal_deviation: tuple[float, float, float] = (10.0, 3.12, 6.28)
    async_velocity_rad_s: Vector | None = None
    """(7,) when set-points come at any rate."""


@dataclass
class Laws:
    """The robot's own controllers, with the stiffness they were given last."""

    joint: JointImpedance | Ideal
    cartesian: CartesianImpedance | Ideal


def laws_for(arm: Arm, limits: Limits, kinematics: ArmKinematics) -> Laws:
    """Impedance controllers for an arm with physics, perfect tracking for one without."""
    if isinstance(arm, KinematicArm):
        return Laws(joint=Ideal(arm, Controller.JOINT_IMPEDANCE), cartesian=Ideal(arm, Controller.CARTESIAN_IMPEDANCE))
    joint = JointImpedance(arm, limits)
    return Laws(joint=joint, cartesian=CartesianImpedance(arm, limits, kinematics, joint))


class Motion:
    """Follows commands until it ends."""

    def __init__(
        self,
        request: MoveRequest,
        arm: Arm,
        kinematics: ArmKinematics,
        reference: Reference,
        limits: Limits,
        filters: Filters,
        laws: Laws,
    ) -> None:
        """Choose what generates the motion and what controls it, as the client asked.

        Args:
            request: the client's `Move`.
            arm: as it stands.
            kinematics: of the arm.
            reference: the set-point, which the motion moves from where it is.
            limits: of the robot.
            filters: the client's, for this motion.
            laws: the controllers to choose from.
        """
        self.controller, self.generator_mode = request.controller, request.generator
        self.asynchronous = request.async_velocity_rad_s is not None
        self.law: ControlLaw
        self._reference = reference
        self._generator: MotionGenerator | None = None
        mode, measured = request.generator, arm.q_rad if limits.starts_measured else None
        if request.async_velocity_rad_s is not None:
            self._generator = AsyncJointGenerator(kinematics, reference, limits, request.async_velocity_rad_s)
        elif mode in (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY):
            self._generator = JointGenerator(kinematics, reference, limits, filters, mode, measured)
        elif mode in (Generator.CARTESIAN_POSITION, Generator.CARTESIAN_VELOCITY):
            self._generator = CartesianGenerator(kinematics, reference, limits, filters, mode, measured)
        if request.controller is Controller.EXTERNAL:
            self.law = ExternalTorque(arm, limits, filters)
        else:
            self.law = laws.joint if request.controller is Controller.JOINT_IMPEDANCE else laws.cartesian

    @property
    def commanded_nm(self) -> Vector | float:
        """(7,) torques that the client commanded last; zero without external control."""
        return self.law.tau_nm if isinstance(self.law, ExternalTorque) else 0.0

    def torque(self, command: Command | None) -> Vector:
        """(7,) Nm for the next millisecond; None means the command was lost. Raises ReflexError."""
        if self._generator is not None:
            self._generator.advance(command)
        return self.law.torque(self._reference, command)

    def finish(self, command: Command) -> None:
        """Take the last command, which must leave a set-point at rest. Raises ReflexError."""
        if self._generator is None or self.asynchronous:
            return
        self._generator.advance(command)
        self._generator.check_end()
