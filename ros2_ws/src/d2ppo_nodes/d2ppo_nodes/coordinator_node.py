"""Coordinator node: homes, starts and stops several arms as one, with one emergency stop; none goes on alone."""

import sys
import time
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from d2ppo_core.errors import ConfigError, RobotError
from d2ppo_core.runtime.control.arm import ArmMode
from d2ppo_core.runtime.control.pair import Order, PairMode, PairWatch
from d2ppo_interfaces.msg import ArmState
from d2ppo_nodes.button import Button
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.qos import LATCHED, SENSOR
from d2ppo_nodes.running import run

_LOOK_S = 0.02
_RECOVERY_S = 30.0
"""Recovering may mean to connect anew."""
_SERVICES = {
    "home": "arm/home",
    "start": "arm/start",
    "stop": "arm/stop",
    "clear_estop": "arm/clear_estop",
    "recover": "arm/recover",
}
_MOVING = (ArmMode.READY, ArmMode.RUNNING, ArmMode.HOLDING)
_BROKEN = (ArmMode.REFLEX, ArmMode.DISCONNECTED, ArmMode.USER_STOPPED)


@dataclass
class _Call:
    """A service call under way."""

    client: Client
    future: Future
    until_s: float


class CoordinatorNode(StackNode):
    """The operator's services for all arms at once, and a watch over what the arms say of themselves."""

    called = "coordinator"

    def __init__(self) -> None:
        """Create the node unconfigured."""
        super().__init__()
        self._active = False
        self._said = ""
        self._calls: list[_Call] = []
        self._arms: dict[str, dict[str, Client]] = {}
        self._found: set[str] = set()

    def configure(self) -> None:
        """Find the arms and create the interfaces."""
        names = self.text("arms").split(",")
        if len(names) < 2 or len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
            raise ConfigError(f"parameter arms must name two or more namespaces, as left,right; got {','.join(names)}")
        silence_s = self.number("silence_s")
        self._answer_s = self.number("answer_s")
        self._watch = PairWatch(names, silence_s=silence_s)
        for name in names:
            self._arms[name] = {
                call: self.create_client(Trigger, f"/{name}/{service}") for call, service in _SERVICES.items()
            }
            self.create_subscription(ArmState, f"/{name}/arm/state", self._hearing(name), SENSOR)
        self._state_pub = self.create_publisher(String, "state", LATCHED)
        self._estop_pub = self.create_publisher(Bool, "estop", LATCHED)
        Button(self, "estop", self._on_estop)
        group = ReentrantCallbackGroup()  # a service waits for the arms' answers, which come by the same executor
        calls = {
            "home": self._home,
            "start": self._start,
            "stop": self._stop,
            "recover": self._recover,
            "clear_estop": self._clear_estop,
        }
        for name, call in calls.items():
            self.create_service(Trigger, name, self._trigger(call), callback_group=group)
        self.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def activate(self) -> None:
        """Begin to watch."""
        self._active = True
        self._say()

    def deactivate(self) -> None:
        """Stop the arms that move: nobody would watch them together."""
        if self._watch.mode(self.now_ns()) in (PairMode.STARTING, PairMode.RUNNING):
            self._watch.end("the coordinator was deactivated")
            self._stop_arms()
        self._active = False

    def cleanup(self) -> None:
        """Forget the arms."""
        for clients in self._arms.values():
            for client in clients.values():
                self.destroy_client(client)
        self._arms, self._calls, self._found = {}, [], set()

    # --- the operator's calls --------------------------------------------------------------------------------------

    def _trigger(
        self, call: Callable[[], Awaitable[str]]
    ) -> Callable[[Trigger.Request, Trigger.Response], Awaitable[Trigger.Response]]:
        async def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                if not self._active:
                    raise RobotError("the coordinator is inactive; activate it first")
                response.success, response.message = True, await call()
            except RobotError as error:
                response.success, response.message = False, str(error)
            self._say()
            return response

        return serve

    async def _home(self) -> str:
        self._watch.home()
        await self._ask("home", self._arms)
        return "all arms are homing; READY follows"

    async def _start(self) -> str:
        self._watch.begin(self.now_ns())
        try:
            await self._ask("start", self._arms)
        except RobotError as error:
            self._watch.end(f"{error}; all arms stopped")
            self._stop_arms()
            raise
        return "all arms follow chunks"

    async def _stop(self) -> str:
        self._watch.end("stopped by the operator")
        await self._ask("stop", self._those_in(_MOVING))
        return "all arms stopped"

    async def _recover(self) -> str:
        broken = self._those_in(_BROKEN)
        if not broken:
            raise RobotError(f"no arm needs to be recovered: {self._watch.describe(self.now_ns())}")
        await self._ask("recover", broken, _RECOVERY_S)
        self._watch.end("recovered; call home")
        return f"recovered {', '.join(broken)}; call home"

    async def _clear_estop(self) -> str:
        stopped = self._those_in((ArmMode.ESTOPPED,))
        self._watch.clear(self.now_ns())
        self._estop_pub.publish(Bool(data=False))
        try:
            await self._ask("clear_estop", stopped)
        except RobotError:
            self._press("an arm refused to be cleared")
            raise
        return "emergency stop cleared for all arms; call home"

    def _those_in(self, modes: Container[ArmMode | None]) -> list[str]:
        return [name for name in self._arms if self._watch.mode_of(name) in modes]

    async def _ask(self, call: str, names: Iterable[str], answer_s: float = 0.0) -> None:
        """Call one service of several arms at the same time; RobotError names who refused and why."""
        clients = {name: self._arms[name][call] for name in names}
        if absent := [name for name, client in clients.items() if not client.service_is_ready()]:
            raise RobotError(f"{', '.join(absent)}: the arm node does not run")
        futures = {name: self._call(client, answer_s or self._answer_s) for name, client in clients.items()}
        refusals = []
        for name, future in futures.items():
            answer = await future
            if answer is None:
                refusals.append(f"{name} does not answer")
            elif not answer.success:
                refusals.append(f"{name}: {answer.message}")
        if refusals:
            raise RobotError("; ".join(refusals))

    def _call(self, client: Client, answer_s: float) -> Future:
        future = client.call_async(Trigger.Request())
        self._calls.append(_Call(client, future, time.monotonic() + answer_s))
        return future

    # --- the watch -------------------------------------------------------------------------------------------------

    def _hearing(self, name: str) -> Callable[[ArmState], None]:
        def hear(state: ArmState) -> None:
            if not self._finds(name):
                return
            self._watch.hear(name, ArmMode(state.state), state.reason, state.epoch, self.now_ns())
            self._look()

        return hear

    def _finds(self, name: str) -> bool:
        """Tell whether the arm's services were discovered: its states may arrive long before it can be stopped."""
        if name not in self._found and all(client.service_is_ready() for client in self._arms[name].values()):
            self._found.add(name)
        return name in self._found

    def _on_estop(self, pressed: bool) -> None:
        if pressed:
            self._watch.estop()
            self._say()

    def _look(self) -> None:
        """Do what the state of the arms asks for, and give up calls that nobody answers."""
        now_s = time.monotonic()
        for late in [call for call in self._calls if call.until_s < now_s and not call.future.done()]:
            late.client.remove_pending_request(late.future)
            late.future.cancel()
        self._calls = [call for call in self._calls if not (call.future.done() or call.future.cancelled())]
        if not self._active:
            return
        order = self._watch.look(self.now_ns())
        if order is Order.ESTOP:
            self._press(self._watch.reason)
        elif order is Order.STOP:
            self._stop_arms()
        self._say()

    def _stop_arms(self) -> None:
        """Stop every arm that may move; one that refuses or does not answer calls for the emergency stop."""
        for name in self._those_in(_MOVING):
            self._call(self._arms[name]["stop"], self._answer_s).add_done_callback(self._judge_stop(name))

    def _judge_stop(self, name: str) -> Callable[[Future], None]:
        def judge(future: Future) -> None:
            answer = None if future.cancelled() else future.result()
            moves = self._watch.mode_of(name) in (ArmMode.RUNNING, ArmMode.HOLDING)
            if answer is None or (not answer.success and moves):
                why = "no answer" if answer is None else answer.message
                self._press(f"{name} could not be stopped: {why}")

        return judge

    def _press(self, reason: str) -> None:
        self._watch.estop(reason)
        self._estop_pub.publish(Bool(data=True))
        self._say()

    def _say(self) -> None:
        """Publish and log what the arms do together, when it changed."""
        mode = self._watch.mode(self.now_ns())
        text = f"{mode.name}: {self._watch.reason}"
        if text == self._said:
            return
        self._said = text
        self._state_pub.publish(String(data=text))
        if mode == PairMode.ESTOPPED:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)


def main() -> None:
    """Run the node."""
    sys.exit(run(CoordinatorNode))


if __name__ == "__main__":
    main()
