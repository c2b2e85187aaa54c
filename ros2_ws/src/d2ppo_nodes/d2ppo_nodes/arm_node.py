"""Arm node: drives a Franka arm, real or simulated, along the chunks of a policy. Only the address tells which."""

import array
import sys
import time
from collections.abc import Callable

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from d2ppo_core.drivers.franka import FrankaArm, FrankaConfig, FrankaGripper, GripperConfig
from d2ppo_core.errors import RobotError, RobotUnreachableError
from d2ppo_core.runtime.arm import ArmConfig, ArmController, ArmMode
from d2ppo_core.runtime.chunk import ChunkRefusedError
from d2ppo_core.runtime.safety import SafetyLimits
from d2ppo_interfaces.msg import ActionChunk, ArmState
from d2ppo_nodes.convert import arm_state_msg, chunk_of, time_msg
from d2ppo_nodes.lifecycle import LATCHED, NEWEST, SENSOR, StackNode, run

_BROADCAST_EVERY = 4
_WATCH_S = 1.0
_HOME_Q_RAD = [0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398]


class ArmNode(StackNode):
    """Messages to the arm's state machine and back, at the rate of the references."""

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__("arm")
        self._active = False
        self._ticks = 0
        self._last_tick_s = 0.0
        self._logged: tuple[ArmMode, str] | None = None

    def configure(self) -> None:
        """Connect to the robot and create the interfaces."""
        address = self.text("robot_address", "172.16.0.2", "address of the robot, or of the simulated one")
        self._frame = self.text("base_frame", "panda_link0", "frame in which poses are given")
        self._arm = FrankaArm(self._franka_config(address))
        self._gripper = FrankaGripper(
            GripperConfig(
                address=address,
                speed_m_s=self.number("gripper_speed_m_s", 0.1, 0.01, 0.1, "speed of the fingers"),
                force_n=self.number("gripper_force_n", 30.0, 5.0, 70.0, "force of a grasp"),
            )
        )
        config = self._arm_config()
        self._controller = ArmController(self._arm, self._gripper, config)
        self._connect(self.number("connect_timeout_s", 5.0, 0.0, 600.0, "time to wait for the robot to answer"))
        self._create_interfaces()
        self._timer = self.create_timer(1.0 / config.reference_hz, self._tick)
        self._timer.cancel()
        # In simulation the ticks follow /clock, which dies with the world: a second timer on the wall clock notices.
        self._watch = self.create_timer(_WATCH_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _connect(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                self._controller.connect()
                return
            except RobotUnreachableError:
                self._controller.close()
                if self.stopping or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.5)

    def _franka_config(self, address: str) -> FrankaConfig:
        return FrankaConfig(
            address=address,
            stiffness_n_m=self.number("stiffness_n_m", 1000.0, 10.0, 3000.0, "translational stiffness"),
            stiffness_nm_rad=self.number("stiffness_nm_rad", 40.0, 1.0, 200.0, "rotational stiffness"),
            max_force_n=self.number("max_force_n", 25.0, 1.0, 100.0, "greatest force of the tracking controller"),
            collision_torque_nm=self.number("collision_torque_nm", 40.0, 5.0, 100.0, "reflex threshold of a joint"),
            collision_force_n=self.number("collision_force_n", 40.0, 5.0, 150.0, "reflex threshold of the hand"),
            homing_dynamics=self.number("homing_dynamics", 0.15, 0.01, 0.5, "fraction of the limits when homing"),
        )

    def _arm_config(self) -> ArmConfig:
        low = self.numbers("workspace_min_m", [0.2, -0.5, 0.0], "lower corner of the workspace, base frame")
        high = self.numbers("workspace_max_m", [0.8, 0.5, 0.7], "upper corner of the workspace, base frame")
        limits = SafetyLimits(
            workspace_min_m=(low[0], low[1], low[2]),
            workspace_max_m=(high[0], high[1], high[2]),
            linear_speed_m_s=self.number("linear_speed_m_s", 0.4, 0.01, 1.7, "greatest speed of the reference"),
            angular_speed_rad_s=self.number("angular_speed_rad_s", 1.5, 0.01, 2.5, "greatest turning speed"),
            braking_m_s2=self.number("braking_m_s2", 1.0, 0.1, 13.0, "deceleration before a wall of the workspace"),
        )
        return ArmConfig(
            reference_hz=self.number("reference_hz", 125.0, 100.0, 500.0, "rate of the references"),
            chunk_timeout_s=self.number("chunk_timeout_s", 0.6, 0.05, 5.0, "silence after which the arm holds"),
            blend_s=self.number("blend_s", 0.1, 0.01, 1.0, "time in which a seam fades out"),
            home_q_rad=tuple(self.numbers("home_q_rad", _HOME_Q_RAD, "home position of the joints")),
            home_gripper_width_m=self.number("home_gripper_width_m", 0.04, 0.0, 0.08, "opening at home"),
            limits=limits,
        )

    def _create_interfaces(self) -> None:
        self._joint_names = [f"panda_joint{i}" for i in range(1, 8)]
        self._state_pub = self.create_publisher(ArmState, "arm/state", SENSOR)
        self._joints_pub = self.create_publisher(JointState, "joint_states", SENSOR)
        self._fingers_pub = self.create_publisher(JointState, "franka_gripper/joint_states", SENSOR)
        prefix = "franka_robot_state_broadcaster"
        self._pose_pub = self.create_publisher(PoseStamped, f"{prefix}/current_pose", SENSOR)
        self._wrench_pub = self.create_publisher(WrenchStamped, f"{prefix}/external_wrench_in_base_frame", SENSOR)
        self.create_subscription(ActionChunk, "policy/chunk", self._on_chunk, NEWEST)
        self.create_subscription(Bool, "estop", self._on_estop, LATCHED)
        self.create_subscription(Bool, "estop", self._on_estop, SENSOR)  # a button that latches nothing counts as well
        calls = {
            "arm/home": self._controller.home,
            "arm/start": self._controller.start,
            "arm/stop": self._controller.stop,
            "arm/clear_estop": self._controller.clear_estop,
            "action_server/error_recovery": self._controller.recover,
        }
        for name, call in calls.items():
            self.create_service(Trigger, name, self._trigger(call))

    def _trigger(self, call: Callable[[], None]) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                self._refuse_if_inactive()
                call()
                response.success, response.message = True, self._controller.report.reason
            except RobotError as error:
                response.success, response.message = False, str(error)
            self._log_change()
            return response

        return serve

    def _refuse_if_inactive(self) -> None:
        if not self._active:
            raise RobotError("the arm node is inactive, nobody would watch the motion; activate it first")

    def activate(self) -> None:
        """Begin to read and command the robot; it does not move before ``arm/home``."""
        self._active = True
        self._timer.reset()

    def deactivate(self) -> None:
        """Stop the robot smoothly."""
        self._active = False
        self._timer.cancel()
        self._controller.halt("the node was deactivated; call home")
        self._log_change()

    def cleanup(self) -> None:
        """Disconnect."""
        self._timer.cancel()
        self._controller.close()

    def _look(self) -> None:
        """Look at the robot although the clock stands still: it may be gone."""
        if self._active and time.monotonic() - self._last_tick_s > _WATCH_S:
            self._tick()

    def _on_chunk(self, message: ActionChunk) -> None:
        try:
            self._controller.offer(chunk_of(message, self._frame), self.now_ns())
        except ChunkRefusedError as error:
            self.get_logger().warning(f"chunk {message.sequence} refused: {error}", throttle_duration_sec=1.0)

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._controller.estop()
            self._log_change()

    def _tick(self) -> None:
        self._last_tick_s = time.monotonic()
        report = self._controller.tick(self.now_ns())
        self._log_change()
        state = arm_state_msg(report, self._gripper.width_m, self._gripper.grasped, self._frame)
        self._state_pub.publish(state)
        self._ticks += 1
        if self._ticks % _BROADCAST_EVERY == 0:
            self._broadcast(state)

    def _broadcast(self, state: ArmState) -> None:
        stamp = time_msg(self.now_ns())
        joints = JointState(name=self._joint_names)
        joints.position, joints.velocity = array.array("d", state.q_rad), array.array("d", state.dq_rad_s)
        finger_m = state.gripper_width_m / 2
        fingers = JointState(name=["panda_finger_joint1", "panda_finger_joint2"], position=[finger_m, finger_m])
        pose, wrench = PoseStamped(pose=state.pose), WrenchStamped(wrench=state.external_wrench)
        publishers = (self._joints_pub, self._fingers_pub, self._pose_pub, self._wrench_pub)
        for publisher, message in zip(publishers, (joints, fingers, pose, wrench), strict=True):
            message.header.stamp, message.header.frame_id = stamp, self._frame
            publisher.publish(message)

    def _log_change(self) -> None:
        if self._gripper.fault:
            self.get_logger().warning(f"gripper: {self._gripper.fault}", throttle_duration_sec=5.0)
        report = self._controller.report
        entry = (report.mode, report.reason)
        if entry != self._logged:
            self._logged = entry
            text = f"{report.mode.name}, epoch {report.epoch}: {report.reason}"
            if report.mode in (ArmMode.REFLEX, ArmMode.USER_STOPPED, ArmMode.ESTOPPED, ArmMode.DISCONNECTED):
                self.get_logger().error(text)
            else:
                self.get_logger().info(text)


def main() -> None:
    """Run the node."""
    sys.exit(run(ArmNode))


if __name__ == "__main__":
    main()
