"""Arm node: drives a Franka arm, real or simulated, along the chunks of a policy. Only the address tells which.

What it takes, publishes, refuses and does when something stops: ``docs/reference/arm_node.md``.
"""

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from d2ppo_core.drivers.clients import franka_drivers
from d2ppo_core.errors import D2ppoError, RobotError, RobotUnreachableError
from d2ppo_core.runtime.control.arm import ArmController, ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError
from d2ppo_core.runtime.control.protocols import GripperOrder
from d2ppo_interfaces.action import ErrorRecovery
from d2ppo_interfaces.msg import ActionChunk, PolicyStatus
from d2ppo_interfaces.srv import GoTo
from d2ppo_nodes.arm_parameters import SPEED_SCALE, arm_config, franka_config, gripper_config
from d2ppo_nodes.broadcast import Broadcast
from d2ppo_nodes.button import Button
from d2ppo_nodes.claims import Newcomers, taken
from d2ppo_nodes.convert import arm_state_msg, chunk_of
from d2ppo_nodes.hand import HandActions
from d2ppo_nodes.in_step import ArmInStep, member_of
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.partners import Partners
from d2ppo_nodes.qos import EVERY, LATCHED, NEWEST, SENSOR, STREAM
from d2ppo_nodes.running import run
from d2ppo_nodes.setting import read_cell
from d2ppo_nodes.takeover import HandChunks

_WATCH_S = 1.0
_IN_STEP_WATCH_S = 15.0
"""A world that waits for all its nodes may keep its clock still for longer."""
_STRAYED_MS = 500
_MOVING = (ArmMode.READY, ArmMode.RUNNING, ArmMode.HOLDING)
_ALARMING = (ArmMode.REFLEX, ArmMode.USER_STOPPED, ArmMode.ESTOPPED, ArmMode.DISCONNECTED)


class ArmNode(StackNode):
    """Messages to the arm's state machine and back, at the rate of the references."""

    called = "arm"
    claims = ("arm/state",)
    _controller: ArmController
    """From ``configure`` on."""

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._active = False
        self._ticked_s, self._ticked_ms = 0.0, 0
        self._logged: tuple[ArmMode, str] | None = None
        self.add_on_set_parameters_callback(self._on_parameters)

    def configure(self) -> None:
        """Connect to the robot and create the interfaces."""
        cell = read_cell(self)
        driven = franka_config(self, cell)
        self._parts = f"{self.text('prefix')}{cell.robot}"
        self._frame = self.text("base_frame") or f"{self._parts}_link0"
        self._arm, self._gripper = franka_drivers(driven, gripper_config(self, driven.address))
        config = arm_config(self, cell)
        member = member_of(self)
        warn = self.get_logger().warning
        hand = self._gripper, self._expect_life, warn, driven.address
        self._in_step = None if member is None else ArmInStep(member, *hand)
        self._watch_s = _WATCH_S if member is None else _IN_STEP_WATCH_S
        # libfranka itself waits 2 s for a lost robot: that is no hang.
        self._hang_s = self.number("hang_timeout_s")
        self._controller = ArmController(self._arm, self._gripper, config)
        self._connect(self.number("connect_timeout_s"))
        if self._arm.warning:
            self.get_logger().warning(self._arm.warning)
        self._partners = Partners(self, self.text("partners").replace(",", " ").split(), self._controller)
        self._partners.settled = self._end_owed
        self._owed_ns = 0
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
            except RobotUnreachableError as error:
                self._controller.close()
                if self.stopping or time.monotonic() > deadline_s:
                    raise
                self.get_logger().info(f"{error}; tries for {timeout_s:g} s", once=True)
                time.sleep(0.5)

    def _create_interfaces(self) -> None:
        joints = [f"{self._parts}_joint{i}" for i in range(1, 8)]
        fingers = [f"{self._parts}_finger_joint{i}" for i in (1, 2)]
        self._broadcast = Broadcast(self, self._frame, joints, fingers, STREAM if self._in_step is None else EVERY)
        self._newcomers = Newcomers(self, "arm/state")
        self._crowded = False
        if self._in_step is None:
            self.create_subscription(ActionChunk, "policy/chunk", self._on_chunk, NEWEST)
            self._by_hand = HandChunks(self, self._controller, self._frame)
        else:
            self.create_subscription(ActionChunk, "policy/chunk", self._in_step.keep, EVERY)
        Button(self, "estop", self._on_estop)
        self.create_subscription(Bool, "deadman", self._on_deadman, SENSOR)
        self.create_subscription(PolicyStatus, "policy/status", self._on_policy, LATCHED)
        controller = self._controller
        calls: dict[str, Callable[[Any], None]] = {
            "home": lambda _: controller.home(),
            "start": lambda _: self._start(),
            "stop": lambda _: controller.stop(),
            "clear_estop": lambda _: controller.clear_estop(),
            "recover": lambda _: self._recover(),
        }
        for name, call in calls.items():
            self.create_service(Trigger, f"arm/{name}", self._serve(call, moves=name in ("home", "start")))
        go_to = self._serve(lambda request: controller.go_to(request.name), moves=True)
        self.create_service(GoTo, "arm/go_to", go_to)
        self._hand = HandActions(self, self._gripper, self._order_hand)
        self._recovery = ActionServer(self, ErrorRecovery, "action_server/error_recovery", self._on_recovery)

    def _start(self) -> None:
        self._partners.forget()  # chunks from before
        if self._in_step is not None:
            self._in_step.forget()
        self._controller.start()

    def _recover(self) -> None:
        """Recover the robot, which takes its time; a world in step goes on without this node's ticks meanwhile."""
        if self._in_step is not None:
            self._in_step.leave()
        try:
            self._controller.recover()
        finally:
            if self._in_step is not None:
                self._in_step.join()

    def _serve(self, call: Callable[[Any], None], *, moves: bool = False) -> Callable[[Any, Any], Any]:
        def serve(request: Any, response: Any) -> Any:
            began_s = time.monotonic()
            try:
                self._refuse_if_inactive()
                if moves:
                    self._refuse_if_still()
                call(request)
                response.success, response.message = True, self._controller.report.reason
            except D2ppoError as error:
                response.success, response.message = False, str(error)
            self._ticked_s += time.monotonic() - began_s  # a call that takes long keeps the ticks from coming
            self._log_change()
            return response

        return serve

    def _refuse_if_inactive(self) -> None:
        if not self._active:
            raise RobotError("the arm node is inactive, nobody would watch the motion; activate it first")
        if self._newcomers.rival:
            raise RobotError(
                f"node {self._newcomers.rival} runs under the same names and would hear this too; stop one of them"
            )

    def _refuse_if_still(self) -> None:
        silence_s = time.monotonic() - self._ticked_s
        if silence_s > self._watch_s:
            raise RobotError(
                f"the arm's clock stands still since {silence_s:.1f} s; with use_sim_time the world must run, "
                "and publish /clock"
            )

    def _order_hand(self, order: GripperOrder) -> int:
        self._refuse_if_inactive()
        return self._controller.hand(order)

    def _on_recovery(self, goal: Any) -> ErrorRecovery.Result:
        answer = self._serve(lambda _: self._recover())(None, Trigger.Response())
        if answer.success:
            goal.succeed()
        else:  # the action of franka_ros2 has no place for a reason
            self.get_logger().warning(f"error_recovery: {answer.message}")
            goal.abort()
        return ErrorRecovery.Result()

    def activate(self) -> None:
        """Begin to read and command the robot; it does not move before ``arm/home``."""
        self._active, self._ticked_s = True, time.monotonic()
        self._timer.reset()
        if self._in_step is not None:
            self._in_step.join()

    def deactivate(self) -> None:
        """Stop the robot smoothly."""
        self._active = False
        self._timer.cancel()
        if self._in_step is not None:
            self._in_step.leave()
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        self._controller.halt("the node was deactivated; call home")
        self._log_change()

    def cleanup(self) -> None:
        """Disconnect."""
        self._timer.cancel()
        self._hand.close()
        self._recovery.destroy()
        self._controller.close()
        if self._in_step is not None:
            self._in_step.close()

    def _look(self) -> None:
        """Look at the robot although the clock stands still: it may be gone."""
        silence_s = time.monotonic() - self._ticked_s
        self._look_for_rivals()
        if not self._active or silence_s <= self._watch_s:
            if self._in_step is not None:  # whoever else the world waits for, this node lives
                self._expect_life()
            return
        self._step()
        # A world that is paused pauses the robot too; one that goes on without our ticks is not followed any more.
        if self._robot_time_ms() - self._ticked_ms > _STRAYED_MS:
            self._controller.hold(f"no tick for {silence_s:.0f} s, the arm's clock stands still; holds")
            self._log_change()

    def _look_for_rivals(self) -> None:
        """End, or come to rest, when another arm node appears under the same names: a call means one arm."""
        newcomers = self._newcomers
        newcomers.look()
        if newcomers.gives_way:
            self.failure = taken(newcomers.rival)
            self.get_logger().fatal(self.failure)
        elif newcomers.stays and not self._crowded:
            self._controller.halt(f"node {newcomers.rival} runs under the same names; stop one of them, then call home")
            self._log_change()
        self._crowded = newcomers.stays

    def _robot_time_ms(self) -> int:
        reading = self._controller.report.reading
        return 0 if reading is None else reading.robot_time_ms

    def _on_chunk(self, message: ActionChunk) -> None:
        try:
            try:
                chunk = chunk_of(message, self._frame)
            except ChunkRefusedError as error:
                self._controller.refuse(error)
                raise
            self._partners.offer(chunk)
            if self._in_step is None:
                self._partners.settle()
        except ChunkRefusedError as error:
            self.get_logger().warning(f"chunk {message.sequence} refused: {error}", throttle_duration_sec=1.0)

    def _on_policy(self, message: PolicyStatus) -> None:
        self._controller.announce_bundle(message.bundle_hash)

    def _on_deadman(self, message: Bool) -> None:
        self._controller.hold_deadman(message.data, self.now_ns())

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == SPEED_SCALE and self.is_configured:
                self._controller.set_speed(parameter.value, self.now_ns())
        return SetParametersResult(successful=True)

    def _on_estop(self, pressed: bool) -> None:
        if pressed:
            self._controller.estop()
            self._log_change()

    def _tick(self) -> None:
        self._ticked_s, now_ns = time.monotonic(), self.now_ns()
        if self._in_step is not None:
            if self._owed_ns:  # the world waits no longer: a partner said nothing
                self._partners.forget()
            for message in self._in_step.begin(now_ns):
                self._on_chunk(message)
        self._step()
        self._ticked_ms = self._robot_time_ms()
        if self._in_step is not None:
            self._owed_ns = now_ns
            self._partners.settle()  # not before: all arms have the first command at the next tick, whoever spoke first
            if not self._partners.open:
                self._end_owed()

    def _end_owed(self) -> None:
        """Tell a world that waits that the tick is over, once the arms have agreed about their chunks."""
        if self._in_step is not None and self._owed_ns:
            self._in_step.end(self._owed_ns)
            self._owed_ns = 0

    def _step(self) -> None:
        report = self._controller.tick(self.now_ns())
        self._expect_life()
        self._log_change()
        state = arm_state_msg(report, self._gripper.reading, self._frame)
        self._broadcast.publish(state, self.now_ns())
        self._hand.look()

    def _expect_life(self) -> None:
        """The kernel ends a process that hangs, even one that holds Python's lock; without commands the robot stops."""
        moving = self._controller.report.mode in _MOVING
        signal.setitimer(signal.ITIMER_REAL, self._hang_s if moving else 0.0)

    def _log_change(self) -> None:
        fault = self._gripper.reading.fault
        if fault:
            self.get_logger().warning(f"gripper: {fault}", throttle_duration_sec=5.0)
        report = self._controller.report
        entry = (report.mode, report.reason)
        if entry != self._logged:
            self._logged = entry
            text = f"{report.mode.name}, epoch {report.epoch}: {report.reason}"
            if report.mode in _ALARMING:
                self.get_logger().error(text)
            else:
                self.get_logger().info(text)


def main() -> None:
    """Run the node."""
    sys.exit(run(ArmNode))


if __name__ == "__main__":
    main()
