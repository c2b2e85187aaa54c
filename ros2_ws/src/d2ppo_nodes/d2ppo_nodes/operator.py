"""An operator at the terminal: finds the arms on the graph, calls their services and actions, waits with a limit."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from d2ppo_core.errors import RobotError, StackError
from d2ppo_core.stack.environment import DEFAULTS
from d2ppo_interfaces.msg import ArmState
from d2ppo_nodes.qos import NEWEST, SENSOR

_SETTLE_S = 0.3
"""Others of the same kind, and a server that must know its client before it can answer, are found within this time."""
_STATE_TYPE = "d2ppo_interfaces/msg/ArmState"
_SHARED = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTRTPS_DEFAULT_PROFILES_FILE")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Who is meant: one arm, or several behind a coordinator."""

    namespace: str
    """Of the arm, or of the coordinator; without slashes."""
    arms: tuple[str, ...]
    """Namespaces of the arms."""

    @property
    def is_pair(self) -> bool:
        """Whether a coordinator stands between the operator and the arms."""
        return self.arms != (self.namespace,)

    def service(self, name: str) -> str:
        """Full name of the service that does ``home``, ``start`` … for this target."""
        return f"/{self.namespace}/{name}" if self.is_pair else f"/{self.namespace}/arm/{name}"


class Operator:
    """Joins the graph for one command; use it as a context manager."""

    def __init__(self, domain_id: int | None, timeout_s: float) -> None:
        """Join.

        Args:
            domain_id: ROS domain; None takes the environment's.
            timeout_s: Time that the whole command may take.
        """
        for name in _SHARED:  # as the stack's own processes, unless the user decided otherwise
            os.environ.setdefault(name, DEFAULTS[name])
        self._context = rclpy.Context()
        self._context.init(args=[], domain_id=domain_id)
        self.node = Node("operator", context=self._context, enable_rosout=False, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._deadline_s = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self.states: dict[str, ArmState] = {}

    def __enter__(self) -> "Operator":
        """Return the operator itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def wait(self, done: Callable[[], Any], limit_s: float | None = None) -> bool:
        """Serve callbacks until ``done()``; False when it did not become true in time."""
        until_s = min(self._deadline_s, time.monotonic() + limit_s) if limit_s is not None else self._deadline_s
        while not done():
            if time.monotonic() > until_s:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def pause(self) -> None:
        """Let the graph become known."""
        until_s = time.monotonic() + _SETTLE_S
        self.wait(lambda: time.monotonic() > until_s)

    # --- who is there ----------------------------------------------------------------------------------------------

    def find(self, namespace: str | None) -> Target:
        """Return who is meant by a namespace; without one the only arm, or the only pair, that is there.

        Raises:
            StackError: nobody answers, or several do and none was named; the message lists them.
        """
        wanted = namespace.strip("/") if namespace is not None else None
        found = self.wait(lambda: self._targets(wanted))
        self.pause()
        targets = self._targets(wanted)
        known = ", ".join(target.namespace for target in self._targets(None))
        if not found or not targets:
            who = f"no arm {wanted!r}" if wanted else "no arm"
            there = f"there are {known}" if known else "is the stack up (d2ppo up), in this ROS domain (--domain-id)?"
            raise StackError(f"{who} answers in ROS domain {self._context.get_domain_id()}: {there}")
        pairs = [target for target in targets if target.is_pair]
        chosen = pairs if len(pairs) == 1 and wanted is None else targets
        if len(chosen) > 1:
            raise StackError(f"several arms answer: {known}; say which one with --namespace")
        return chosen[0]

    def _targets(self, wanted: str | None) -> list[Target]:
        topics = self.node.get_topic_names_and_types()
        arms = sorted(name[1 : -len("/arm/state")] for name, kinds in topics if _is_state(name, kinds))
        arms = [arm for arm in arms if self.node.count_publishers(f"/{arm}/arm/state")]
        targets = [Target(namespace=arm, arms=(arm,)) for arm in arms]
        for name, space in self.node.get_node_names_and_namespaces():
            if name == "coordinator" and arms:
                targets.append(Target(namespace=space.strip("/"), arms=tuple(arms)))
        return [target for target in targets if wanted in (None, target.namespace)]

    def watch(self, target: Target) -> None:
        """Begin to hear the states of a target's arms and wait for the first ones; StackError when none comes."""
        for arm in target.arms:
            self.node.create_subscription(ArmState, f"/{arm}/arm/state", self._hearing(arm), SENSOR)
        if not self.wait(lambda: all(arm in self.states for arm in target.arms)):
            silent = ", ".join(arm for arm in target.arms if arm not in self.states)
            raise StackError(f"{silent}: the arm node says nothing; is it active, and does its clock run?")

    def _hearing(self, arm: str) -> Callable[[ArmState], None]:
        def hear(state: ArmState) -> None:
            self.states[arm] = state

        return hear

    # --- what is asked ---------------------------------------------------------------------------------------------

    def call(self, kind: Any, service: str, request: Any) -> str:
        """Call a service that answers ``success`` and ``message``; RobotError with the message when it refuses."""
        client = self.node.create_client(kind, service)
        if not self.wait(client.service_is_ready):
            raise StackError(f"nobody offers {service}")
        self.pause()
        future = client.call_async(request)
        if not self.wait(future.done):
            raise RobotError(f"{service} did not answer within {self._timeout_s:g} s")
        answer = future.result()
        if not answer.success:
            raise RobotError(str(answer.message))
        return str(answer.message)

    def trigger(self, service: str) -> str:
        """Call a Trigger service."""
        return self.call(Trigger, service, Trigger.Request())

    def act(self, kind: Any, action: str, goal: Any) -> Any:
        """Carry out an action to its end and return the result; RobotError when it fails or takes too long."""
        client = ActionClient(self.node, kind, action)
        if not self.wait(client.server_is_ready):
            raise StackError(f"nobody offers {action}")
        self.pause()
        sending = client.send_goal_async(goal)
        if not self.wait(sending.done) or not sending.result().accepted:
            raise RobotError(f"{action} was not accepted")
        ending = sending.result().get_result_async()
        if not self.wait(ending.done):
            sending.result().cancel_goal_async()
            raise RobotError(f"{action} did not end within {self._timeout_s:g} s and was cancelled")
        result = ending.result().result
        if not result.success:
            raise RobotError(str(result.error))
        return result

    def press(self, target: Target) -> None:
        """Press the emergency stop until all arms of a target say that they stopped; RobotError when one does not."""
        topics = {self.button_of(arm) for arm in target.arms}
        buttons = [self.node.create_publisher(Bool, topic, NEWEST) for topic in topics]

        def stopped() -> bool:
            for button in buttons:
                button.publish(Bool(data=True))
            return all(self.states[arm].state == ArmState.ESTOPPED for arm in target.arms if arm in self.states)

        if not self.wait(lambda: stopped() and len(self.states) == len(target.arms)):
            raise RobotError("an arm did not say that it stopped: use the robot's own stop button")

    def button_of(self, arm: str) -> str:
        """Return the topic of an arm's emergency stop, which several arms may share."""
        topics = self.node.get_subscriber_names_and_types_by_node("arm", f"/{arm}")
        found = [name for name, kinds in topics if name.endswith("/estop") and "std_msgs/msg/Bool" in kinds]
        return found[0] if found else f"/{arm}/estop"


def _is_state(name: str, kinds: list[str]) -> bool:
    return name.endswith("/arm/state") and _STATE_TYPE in kinds
