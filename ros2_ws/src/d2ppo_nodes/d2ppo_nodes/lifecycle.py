"""What all nodes share: lifecycle callbacks that report errors in one line, parameters, names of its own."""

import time
from collections.abc import Callable
from typing import Any, ClassVar

from lifecycle_msgs.srv import ChangeState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.parameters import COMMON, parameter_table
from d2ppo_nodes.claims import refuse_taken_names
from d2ppo_nodes.declared import declare
from d2ppo_nodes.guarded import GuardedNode, describe

RCLError = rclpy_implementation.RCLError


class StackNode(GuardedNode):
    """A lifecycle node whose subclasses implement ``configure``, ``activate``, ``deactivate`` and ``cleanup``.

    They raise ``D2ppoError`` when something is wrong; the node then logs one line and the transition fails.
    """

    called: ClassVar[str]
    """Name of the node, unless it is remapped, and of its table of parameters."""
    claims: ClassVar[tuple[str, ...]] = ()
    """Topics on which no other living node may publish."""

    def __init__(self) -> None:
        """Create the node unconfigured; it acts on nothing yet."""
        self._born_s = time.monotonic()
        super().__init__(self.called, automatically_declare_parameters_from_overrides=True)
        if self.get_parameter("use_sim_time").type_ != Parameter.Type.BOOL:  # rclpy would take the machine's clock
            raise ConfigError(f"use_sim_time must be true or false, got {self.get_parameter('use_sim_time').value!r}")
        self.stopping: list[int] = []
        """Signals that asked the process to end; whoever waits looks here."""
        self._service_change_state.callback = self._refusing(self._service_change_state.callback)
        table = parameter_table("d2ppo_nodes", f"{self.called}_node") or parameter_table("d2ppo_nodes", COMMON)
        declare(self, table or {}, lambda: self.is_configured)

    def flag(self, name: str) -> bool:
        """Return the value of a yes-or-no parameter."""
        return bool(self.get_parameter(name).value)

    def integer(self, name: str) -> int:
        """Return the value of a whole-numbered parameter."""
        return int(self.get_parameter(name).value)

    def number(self, name: str) -> float:
        """Return the value of a number."""
        return float(self.get_parameter(name).value)

    def text(self, name: str) -> str:
        """Return the value of a text."""
        return str(self.get_parameter(name).value)

    def numbers(self, name: str) -> list[float]:
        """Return the value of a list of numbers; empty when it was left open."""
        return [float(x) for x in self.get_parameter_or(name).value or []]

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
        self.remember_from_now()
        result = self._transition(self._configure_alone)
        if result != TransitionCallbackReturn.SUCCESS:
            self.destroy_own()
        return result

    def _configure_alone(self) -> None:
        refuse_taken_names(self, self.claims, self._born_s)
        self.configure()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``activate`` as a lifecycle transition."""
        super().on_activate(state)
        return self._transition(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``deactivate`` as a lifecycle transition; half deactivated is an error, see ``on_error``."""
        result = self._transition(self.deactivate, failed=TransitionCallbackReturn.ERROR)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run ``cleanup`` as a lifecycle transition; all publishers, subscriptions, services and timers go with it."""
        result = self._transition(self.cleanup, failed=TransitionCallbackReturn.ERROR)
        self.destroy_own()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leave the robot safe and release everything; nothing of the node answers afterwards."""
        steps = {"active": (self.deactivate, self.cleanup), "inactive": (self.cleanup,)}.get(state.label, ())
        results = [self._transition(step) for step in steps]
        self.destroy_own()
        if any(result != TransitionCallbackReturn.SUCCESS for result in results):
            self.failure = self.failure or "the node could not be shut down cleanly"
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Become unconfigured after a deactivation or cleanup that failed: a half released node is worse."""
        if self.is_configured:
            self._transition(self.cleanup)
            self.destroy_own()
        return TransitionCallbackReturn.SUCCESS

    @property
    def finalized(self) -> bool:
        """Whether the node was shut down, for good."""
        return bool(self._state_machine.current_state[1] == "finalized")

    def _transition(
        self,
        action: Callable[[], None],
        failed: TransitionCallbackReturn = TransitionCallbackReturn.FAILURE,
    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:  # rclpy would swallow it without a word
            if self.stopping and action in (self._configure_alone, self.activate):
                self.get_logger().info(f"stopped before it was ready: {describe(error)}")
            else:
                self.get_logger().fatal(describe(error))
            return failed
        return TransitionCallbackReturn.SUCCESS

    def _refusing(self, change_state: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap rclpy's service: it raises, and ends the node, when a transition does not start at the present state."""

        def serve(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RCLError as error:
                self.get_logger().warning(f"transition refused: {str(error).splitlines()[0]}")
                response.success = False
                return response

        return serve
