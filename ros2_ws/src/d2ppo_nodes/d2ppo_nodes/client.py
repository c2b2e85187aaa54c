"""A client of a running stack: calls its services, watches its topics, waits with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters  # type: ignore[attr-defined]
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from d2ppo_core.errors import StackError
from d2ppo_core.stack.description import StackDescription
from d2ppo_core.stack.stepping import CHUNK, DETERMINISTIC, STEPPING, WATCH, Member
from d2ppo_interfaces.msg import ActionChunk, ArmState, PolicyStatus, WorldState
from d2ppo_interfaces.srv import InjectFault, ResetWorld
from d2ppo_nodes.convert import time_ns
from d2ppo_nodes.qos import EVERY, LATCHED, NEWEST, SENSOR

_SETTLE_S = 0.3
"""A server may find a new client later than the client finds it, and until then its answers are lost."""


def client_of(stack: StackDescription, domain_id: int | None = None) -> StackClient:
    """Return a client of a running stack, in step with its world if that steps deterministically."""
    address = stack.world_address if stack.arguments.get(STEPPING) == DETERMINISTIC else ""
    return StackClient(f"/{stack.namespace}", domain_id, address, stack.arms if len(stack.arms) > 1 else ())


class StackClient:
    """Sees and operates a stack as any other ROS node would."""

    def __init__(
        self,
        namespace: str,
        domain_id: int | None = None,
        world_address: str = "",
        arms: tuple[str, ...] = (),
    ) -> None:
        """Join the graph.

        Args:
            namespace: Namespace of the stack, e.g. ``/panda``.
            domain_id: ROS domain; None takes the environment's.
            world_address: Of the first robot of a world that steps deterministically; it can be asked to wait for this
                client too, see ``join``. Empty: another world.
            arms: Namespaces of several arms behind a coordinator; empty: the one of the stack's own namespace.
        """
        self.names, self.is_pair = arms or ("",), bool(arms)
        self._context = rclpy.Context()
        self._context.init(domain_id=domain_id)
        use_sim_time = Parameter("use_sim_time", Parameter.Type.BOOL, True)
        self._node = Node(
            "stack_client", namespace=namespace, context=self._context, parameter_overrides=[use_sim_time]
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._clients: dict[str, Client] = {}
        self.states: dict[str, ArmState] = {}
        """What each arm said last, by name."""
        self.together = ""
        """What the coordinator said last, as `RUNNING: all arms follow chunks`."""
        self.policy: PolicyStatus | None = None
        self.world: WorldState | None = None
        self.on_chunk: Callable[..., None] = lambda chunk, name="": None
        self.on_arm: Callable[..., None] = lambda state, name="": None
        """Called with a message and the name of the arm that it is from or for."""
        self.on_world: Callable[[WorldState], None] = lambda _: None
        self.member = Member(f"{namespace.strip('/')}/stack_client", world_address) if world_address else None
        heard = NEWEST if self.member is None else EVERY
        node = self._node
        self._estop = node.create_publisher(Bool, "estop", LATCHED)
        for name in self.names:
            place = f"/{name}/" if name else ""
            arm, chunk = partial(self._arm_arrived, name=name), partial(self._chunk_arrived, name=name)
            node.create_subscription(ArmState, f"{place}arm/state", arm, SENSOR)
            node.create_subscription(ActionChunk, f"{place}policy/chunk", chunk, heard if not name else EVERY)
        if self.is_pair:
            node.create_subscription(String, "state", self._coordinator_arrived, LATCHED)
        node.create_subscription(PolicyStatus, "policy/status", self._policy_arrived, LATCHED)
        node.create_subscription(WorldState, "sim/state", self._world_arrived, heard)

    @property
    def arm(self) -> ArmState | None:
        """What the arm, or the first of them, said last."""
        return self.states.get(self.names[0])

    @arm.setter
    def arm(self, state: ArmState) -> None:
        self.states[self.names[0]] = state

    def service(self, call: str) -> str:
        """Name of the service that does ``home``, ``start`` … of the arm, or of all of them at once."""
        return call if self.is_pair else f"arm/{call}"

    def now_ns(self) -> int:
        """Return the stack's time."""
        return int(self._node.get_clock().now().nanoseconds)

    def spin_until(
        self, done: Callable[[], Any], timeout_s: float, what: str, check: Callable[[], None] = lambda: None
    ) -> None:
        """Serve callbacks until ``done()`` is true.

        Args:
            done: Condition to wait for.
            timeout_s: Wall time after which waiting ends with a StackError that names ``what`` and what the arm says.
            what: What is waited for, for the message.
            check: Called while waiting; raises when waiting has become pointless.
        """
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                arms = [
                    f"; the arm {name}: {state.reason}, refused: {state.chunks_refused}".replace(" :", ":")
                    for name, state in self.states.items()
                ]
                raise StackError(f"waited {timeout_s:.0f} s for {what}{''.join(arms)}")
            check()
            self._executor.spin_once(timeout_sec=0.05)

    def trigger(self, service: str, timeout_s: float = 10.0) -> str:
        """Call a Trigger service; StackError with its message when it refuses."""
        return str(self._call(Trigger, service, Trigger.Request(), timeout_s).message)

    def reset_world(self, seed: int, timeout_s: float = 10.0) -> int:
        """Start an episode of the simulated world; returns its number."""
        return int(self._call(ResetWorld, "sim/reset_world", ResetWorld.Request(seed=seed), timeout_s).episode)

    def inject_fault(self, fault: str, timeout_s: float = 10.0) -> None:
        """Let something happen to the simulated arm, or to all of them: `led_home` by somebody's hand, `reflex` …"""
        for name in self.names:
            place = f"sim/{name}/" if name else "sim/"
            self._call(InjectFault, f"{place}inject_fault", InjectFault.Request(fault=fault), timeout_s)

    def pause_world(self, paused: bool, timeout_s: float = 10.0) -> None:
        """Stop or continue simulated time; StackError when the world refuses."""
        self._call(SetBool, "sim/set_pause", SetBool.Request(data=paused), timeout_s)

    def set_noise_seed(self, seed: int, timeout_s: float = 10.0) -> None:
        """Let the policy begin anew with this seed of its noise."""
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        request = SetParameters.Request(parameters=[ParameterMessage(name="noise_seed", value=value)])
        result = self._answer(SetParameters, "policy/set_parameters", request, timeout_s).results[0]
        if not result.successful:
            raise StackError(f"policy/set_parameters: {result.reason}")

    def publish_estop(self, stop: bool) -> None:
        """Press (True) or let go (False) the emergency stop; letting go does not clear it."""
        self._estop.publish(Bool(data=stop))

    def _call(self, kind: Any, service: str, request: Any, timeout_s: float) -> Any:
        answer = self._answer(kind, service, request, timeout_s)
        if not answer.success:
            raise StackError(f"{service}: {answer.message}")
        return answer

    def _answer(self, kind: Any, service: str, request: Any, timeout_s: float) -> Any:
        if service not in self._clients:
            client = self._node.create_client(kind, service)
            self.spin_until(client.service_is_ready, timeout_s, f"service {service}")
            self._clients[service] = client
            found_s = time.monotonic()
            self.spin_until(lambda: time.monotonic() > found_s + _SETTLE_S, timeout_s, "the server to know its client")
        future = self._clients[service].call_async(request)
        self.spin_until(future.done, timeout_s, f"an answer of {service}")
        return future.result()

    def close(self) -> None:
        """Leave the graph."""
        if self.member is not None:
            self.member.close()
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _arm_arrived(self, message: ArmState, *, name: str) -> None:
        self.states[name] = message
        self.on_arm(message, name)

    def _coordinator_arrived(self, message: String) -> None:
        self.together = message.data

    def _chunk_arrived(self, message: ActionChunk, *, name: str) -> None:
        self.on_chunk(message, name)
        if self.member is not None and name == self.names[-1]:  # the policy sends that one last
            self.member.say(CHUNK, time_ns(message.header.stamp))

    def _policy_arrived(self, message: PolicyStatus) -> None:
        self.policy = message

    def _world_arrived(self, message: WorldState) -> None:
        self.world = message
        self.on_world(message)
        if self.member is not None:
            self.member.say(WATCH, time_ns(message.header.stamp))
