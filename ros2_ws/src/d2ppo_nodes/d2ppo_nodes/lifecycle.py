"""What all nodes share: lifecycle callbacks that report errors in one line, QoS profiles, and a clean way to run."""

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import rclpy
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from d2ppo_core.errors import ConfigError, D2ppoError

RCLError = rclpy_implementation.RCLError

SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Images and state: the newest counts, a lost one is not sent again."""

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Chunks and commands: every one arrives, only the newest is kept."""

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Modes and stops: who joins late gets the newest one."""

_SPIN_SLICE_S = 0.2


class StackNode(LifecycleNode):
    """A lifecycle node whose subclasses implement ``configure``, ``activate``, ``deactivate`` and ``cleanup``.

    They raise ``D2ppoError`` when something is wrong; the node then logs one line and the transition fails.
    """

    def __init__(self, name: str) -> None:
        """Create the node unconfigured; it acts on nothing yet."""
        super().__init__(name)
        self.failure = ""
        """Why the node broke down while it ran; ends its process. A refused transition does not."""
        self.stopping: list[int] = []
        """Signals that asked the process to end; whoever waits looks here."""
        self._permanent: set[object] = set()
        self._service_change_state.callback = self._refusing(self._service_change_state.callback)
        self.declare_parameter(
            "autostart", True, ParameterDescriptor(description="configure and activate at once", read_only=True)
        )
        self.declare_parameter(
            "nice", 0, ParameterDescriptor(description="niceness of the process; below 0 runs before others")
        )

    def number(self, name: str, default: float, low: float, high: float, description: str) -> float:
        """Declare a bounded parameter and return its value; ConfigError when it is not a number in [low, high]."""
        if not self.has_parameter(name):
            text = f"{description}; in [{low}, {high}]"
            self.declare_parameter(
                name, float(default), ParameterDescriptor(description=text, read_only=True, dynamic_typing=True)
            )
        value = self.get_parameter(name).value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ConfigError(f"parameter {name} must be a number in [{low}, {high}], got {value!r}")
        return float(value)

    def text(self, name: str, default: str, description: str) -> str:
        """Declare a text parameter and return its value."""
        if not self.has_parameter(name):
            self.declare_parameter(name, default, ParameterDescriptor(description=description, read_only=True))
        return str(self.get_parameter(name).value)

    def numbers(self, name: str, default: list[float], description: str) -> list[float]:
        """Declare a list of as many numbers as the default has and return its value."""
        if not self.has_parameter(name):
            self.declare_parameter(name, default, ParameterDescriptor(description=description, read_only=True))
        value = [float(x) for x in self.get_parameter(name).value]
        if len(value) != len(default):
            raise ConfigError(f"parameter {name} needs {len(default)} numbers, got {len(value)}")
        return value

    def now_ns(self) -> int:
        """Return the node's ROS time; it is ``/clock`` in simulation."""
        return int(self.get_clock().now().nanoseconds)

    def configure(self) -> None:
        """Read parameters, open devices, create publishers and subscriptions."""

    def activate(self) -> None:
        """Begin to act."""

    def deactivate(self) -> None:
        """Stop acting; leave the robot safe."""

    def cleanup(self) -> None:
        """Release everything ``configure`` made."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``configure`` as a lifecycle transition; when it fails, nothing of it is left."""
        self._permanent = set(self._entities())
        result = self._transition(self.configure)
        if result != TransitionCallbackReturn.SUCCESS:
            self._destroy_entities()
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``activate`` as a lifecycle transition."""
        super().on_activate(state)
        return self._transition(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``deactivate`` as a lifecycle transition."""
        result = self._transition(self.deactivate)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``cleanup`` as a lifecycle transition; all publishers, subscriptions, services and timers go with it."""
        result = self._transition(self.cleanup)
        self._destroy_entities()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leave the robot safe and release everything."""
        if state.label == "active":
            self._transition(self.deactivate)
        return self._transition(self.cleanup) if state.label != "unconfigured" else TransitionCallbackReturn.SUCCESS

    def _transition(self, action) -> TransitionCallbackReturn:  # noqa: ANN001
        try:
            action()
        except Exception as error:  # rclpy would swallow it without a word
            known = isinstance(error, D2ppoError)
            self.get_logger().fatal(str(error) if known else f"{type(error).__name__}: {error}")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _entities(self) -> list[object]:
        return [*self.publishers, *self.subscriptions, *self.services, *self.timers]

    def _destroy_entities(self) -> None:
        """Destroy what ``configure`` made: a second one would double it, and leftovers would answer for the node."""
        destroy = (
            (self.timers, self.destroy_timer),
            (self.services, self.destroy_service),
            (self.subscriptions, self.destroy_subscription),
            (self.publishers, self.destroy_publisher),
        )
        for entities, destroy_one in destroy:
            for entity in [entity for entity in entities if entity not in self._permanent]:
                destroy_one(entity)

    def _refusing(self, change_state):  # noqa: ANN001, ANN202
        """Wrap rclpy's service: it raises, and ends the node, when a transition does not start at the present state."""

        def serve(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RCLError as error:
                self.get_logger().warning(f"transition refused: {str(error).splitlines()[0]}")
                response.success = False
                return response

        return serve


def run(node_class: type[StackNode]) -> int:
    """Run a node until SIGINT or SIGTERM; returns 1 when it could not start or broke down, else 0."""
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    node = node_class()

    def request_stop(number: int, _: FrameType | None) -> None:
        node.stopping.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        _renice(node)
        if node.get_parameter("autostart").value and not _start(node):
            return 1
        gc.collect()
        gc.freeze()
        while not node.stopping and not node.failure:
            executor.spin_once(timeout_sec=_SPIN_SLICE_S)
        return 1 if node.failure else 0
    finally:
        node.trigger_shutdown()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not disturb the interpreter's own end
            signal.signal(number, signal.SIG_IGN)


def _renice(node: StackNode) -> None:
    """Take the wanted niceness; threads that are made later inherit it. Without the right to, go on as before."""
    wanted = int(node.get_parameter("nice").value)
    if wanted == 0:
        return
    try:
        os.setpriority(os.PRIO_PROCESS, 0, wanted)
        # Linux may share the processor among sessions first; this node is a session of its own.
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/self/autogroup").write_text(str(wanted))
    except PermissionError:
        node.get_logger().info(f"runs at normal priority: nice {wanted} needs root or CAP_SYS_NICE")


def _start(node: StackNode) -> bool:
    for step in (node.trigger_configure, node.trigger_activate):
        if step() != TransitionCallbackReturn.SUCCESS:
            return False
    return True
