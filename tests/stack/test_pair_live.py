"""Two arms as real processes in one world: they start as one, stop as one, and follow one policy's chunks in step.

A node of the test stands in for the policy of two arms: it publishes a chunk with the same stamp in each namespace.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from d2ppo_core.stack.loader import load_stack  # noqa: E402
from d2ppo_core.stack.runner import Stack  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, ArmState, WorldState  # noqa: E402
from d2ppo_interfaces.srv import InjectFault, ResetWorld  # noqa: E402
from d2ppo_nodes.convert import pose_msg, time_msg, time_ns, transform_of, twist_msg  # noqa: E402
from d2ppo_nodes.qos import LATCHED, NEWEST, SENSOR  # noqa: E402

ARMS = ("left", "right")
START_S, ANSWER_S, MOTION_S = 180.0, 30.0, 120.0
PERIOD_NS, TARGETS = 50_000_000, 16
SWING_M = 0.04


class Operator:
    """Sees both arms and operates them together; as a policy it lets both hands swing up and down in step."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self._context = check, rclpy.Context()
        self._context.init()
        sim_time = Parameter("use_sim_time", Parameter.Type.BOOL, True)
        self.node = rclpy.create_node("operator", context=self._context, parameter_overrides=[sim_time])
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.arms: dict[str, ArmState] = {}
        self.together, self.world = "", WorldState()
        self.first_command_ns: dict[str, int] = {}
        self.track: dict[int, dict[str, float]] = {}
        for name in ARMS:
            self.node.create_subscription(ArmState, f"/{name}/arm/state", self._hearing(name), SENSOR)
        self.node.create_subscription(String, "/pair/state", self._on_state, LATCHED)
        self.node.create_subscription(WorldState, "/pair/sim/state", self._on_world, NEWEST)
        self.estop = self.node.create_publisher(Bool, "/pair/estop", LATCHED)
        self._chunks = {name: self.node.create_publisher(ActionChunk, f"/{name}/policy/chunk", NEWEST) for name in ARMS}
        self.node.create_timer(PERIOD_NS * 1e-9, self._act)
        self._origin: dict[str, Any] = {}
        self._begin_ns, self.sequence, self.acting = 0, 0, True

    def spin(self, done: Callable[[], Any], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            arms = {name: (arm.state, arm.reason) for name, arm in self.arms.items()}
            assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}; {self.together!r}, {arms}"
            self._check()
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, kind: Any, service: str, **fields: Any) -> Any:
        client = self.node.create_client(kind, service)
        self.spin(client.service_is_ready, ANSWER_S, service)
        settled = time.monotonic() + 0.3
        self.spin(lambda: time.monotonic() > settled, 1.0, "the server to know its client")
        future = client.call_async(kind.Request(**fields))
        self.spin(future.done, ANSWER_S, f"an answer of {service}")
        self.node.destroy_client(client)
        return future.result()

    def trigger(self, service: str) -> str:
        answer = self.call(Trigger, service)
        assert answer.success, answer.message
        return answer.message

    def both(self, state: int, timeout_s: float = ANSWER_S) -> None:
        self.spin(lambda: all(self.arms[name].state == state for name in ARMS), timeout_s, f"state {state} of both")

    def listen(self) -> None:
        """Wait for states that were sent from now on."""
        since_ns = self.now_ns()
        self.spin(lambda: all(time_ns(a.header.stamp) > since_ns for a in self.arms.values()), ANSWER_S, "fresh states")

    def start_moving(self) -> None:
        """Home both, start both, and wait until both have followed a few chunks."""
        self.trigger("/pair/home")
        self.spin(lambda: self.together == "READY: call start", MOTION_S, "both to be at home")
        self.first_command_ns, self.sequence, self.track = {}, 0, {}
        self.trigger("/pair/start")
        self.spin(lambda: self.together.startswith("RUNNING"), ANSWER_S, "both to run")
        self.spin(lambda: all(self.arms[name].chunk_sequence >= 4 for name in ARMS), MOTION_S, "chunks to be followed")

    def now_ns(self) -> int:
        return int(self.node.get_clock().now().nanoseconds)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _hearing(self, name: str) -> Callable[[ArmState], None]:
        def hear(state: ArmState) -> None:
            self.arms[name] = state
            if state.state == ArmState.RUNNING and time_ns(state.chunk_first_command):
                self.first_command_ns.setdefault(name, time_ns(state.chunk_first_command))

        return hear

    def _on_state(self, message: String) -> None:
        self.together = message.data

    def _on_world(self, message: WorldState) -> None:
        self.world = message
        if self.sequence:
            heights = {name: arm.reference_pose.position.z for name, arm in self.arms.items()}
            self.track[time_ns(message.header.stamp)] = heights

    def _act(self) -> None:
        """Publish a chunk to each arm, of the same stamp, once both of them run."""
        if not (self.acting and self.together.startswith("RUNNING")):
            self._origin = {}
            return
        if not self._origin:
            self._origin = {name: transform_of(self.arms[name].reference_pose) for name in ARMS}
            self._begin_ns = self.now_ns()
        stamp_ns, self.sequence = self.now_ns(), self.sequence + 1
        for name in ARMS:
            chunk = ActionChunk(dt_s=PERIOD_NS * 1e-9, sequence=self.sequence, epoch=self.arms[name].epoch)
            chunk.header.stamp, chunk.header.frame_id = time_msg(stamp_ns), f"{name}_fr3_link0"
            for index in range(TARGETS):
                phase = 2.0 * np.pi * 0.5 * ((stamp_ns - self._begin_ns + index * PERIOD_NS) * 1e-9)
                pose = self._origin[name].copy()
                pose[2, 3] += 0.5 * SWING_M * (1.0 - np.cos(phase))
                chunk.poses.append(pose_msg(pose))
                chunk.twists.append(twist_msg(np.array([0, 0, 0.5 * SWING_M * np.pi * np.sin(phase), 0, 0, 0])))
                chunk.gripper_width_m.append(0.04)
            self._chunks[name].publish(chunk)


def print_figure(text: str) -> None:
    print(f"\n  {text}")


def stops(log_file: Path) -> list[tuple[str, float]]:
    """Name of the arm and wall time of every emergency stop in the log."""
    found = re.findall(r"\[([0-9.]+)\] \[(left|right)\.arm\]: ESTOPPED", log_file.read_text())
    return [(name, float(at_s)) for at_s, name in found]


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pair") / "stack.log"


@pytest.fixture(scope="module")
def stack(log_file: Path, ros_domain_id: int, module_addresses: tuple[str, str]) -> Iterator[Stack]:
    chosen = {"left_address": module_addresses[0], "right_address": module_addresses[1], "real_time": False}
    description = load_stack("sim_transport", chosen)
    nodes = tuple(node for node in description.nodes if node.executable != "camera_node")  # nobody looks
    with Stack(replace(description, nodes=nodes), domain_id=ros_domain_id, log_file=log_file) as running:
        yield running


@pytest.fixture(scope="module")
def operator(stack: Stack) -> Iterator[Operator]:
    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
    operator = Operator(stack.check)
    operator.spin(lambda: len(operator.arms) == 2 and operator.together == "IDLE: call home", START_S, "the stack")
    yield operator
    operator.close()


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_both_arms_start_together_and_follow_chunks_in_step(operator: Operator):
    operator.start_moving()
    began = operator.now_ns()
    operator.spin(lambda: operator.now_ns() > began + 2_000_000_000, MOTION_S, "two seconds of motion")
    first = operator.first_command_ns
    assert set(first) == set(ARMS)
    print_figure(f"first commanded ticks {abs(first['left'] - first['right']) * 1e-6:.1f} ms apart (simulated)")
    heights = np.array([[track[name] for name in ARMS] for track in list(operator.track.values())[5:]])
    assert np.ptp(heights, axis=0).min() > 0.5 * SWING_M, "both hands swing"
    apart_mm = 1e3 * np.abs((heights - heights[0]) @ [1.0, -1.0])
    print_figure(
        f"heights of both references differ by {apart_mm.mean():.2f} mm in the mean, {apart_mm.max():.2f} at most"
    )
    print_figure(f"real-time factor {operator.world.real_time_factor:.2f}, late {operator.world.commands_late}")
    assert apart_mm.max() < 10.0
    assert all(operator.arms[name].chunks_refused == 0 for name in ARMS)
    answer = operator.call(ResetWorld, "/pair/sim/reset_world", seed=5)
    assert answer.success and operator.world.task == "transport" and not operator.world.success


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize(("fault", "state"), [("reflex", ArmState.REFLEX), ("network_cut", ArmState.DISCONNECTED)])
def test_when_one_arm_stops_the_other_does_not_go_on(operator: Operator, fault: str, state: int):
    operator.start_moving()
    fallen = operator.call(InjectFault, "/pair/sim/left/inject_fault", fault=fault, duration_s=5.0)
    assert fallen.success
    operator.spin(lambda: operator.arms["left"].state == state, ANSWER_S, fault)
    left_ns, left_s = operator.now_ns(), time.monotonic()
    operator.spin(lambda: operator.arms["right"].state == ArmState.READY, ANSWER_S, "the partner to stop")
    wall_ms, ms = 1e3 * (time.monotonic() - left_s), 1e-6 * (operator.now_ns() - left_ns)
    print_figure(f"{fault}: partner stopped {wall_ms:.0f} ms later ({ms:.0f} ms simulated)")
    operator.spin(lambda: "all arms stopped" in operator.together, ANSWER_S, "the coordinator to say why")
    # a lost robot's states are old before libfranka gives it up
    seen = ("REFLEX",) if fault == "reflex" else ("HOLDING", "DISCONNECTED")
    assert any(f"left is {state} (" in operator.together for state in seen)
    refused = operator.call(Trigger, "/pair/start")
    assert not refused.success and "start needs READY" in refused.message
    operator.call(InjectFault, "/pair/sim/left/inject_fault", fault="clear")
    operator.trigger("/pair/recover")
    operator.listen()
    if operator.arms["left"].state == ArmState.REFLEX:  # to which the lost connection led
        operator.trigger("/pair/recover")


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_one_topic_stops_both_and_one_trigger_clears_both(operator: Operator, log_file: Path):
    operator.start_moving()
    pressed_s = time.time()
    operator.estop.publish(Bool(data=True))
    operator.both(ArmState.ESTOPPED)
    operator.spin(lambda: len(stops(log_file)) == len(ARMS), ANSWER_S, "both to log it")
    after_ms = {name: round(1e3 * (at_s - pressed_s)) for name, at_s in stops(log_file)}
    print_figure(f"emergency stop: both arms had stopped {after_ms} ms (wall) later")
    operator.estop.publish(Bool(data=False))
    for service in ("/pair/home", "/pair/start", "/left/arm/home"):
        assert not operator.call(Trigger, service).success, "letting the button go must not clear the stop"
    operator.trigger("/left/arm/clear_estop")
    operator.both(ArmState.ESTOPPED)
    operator.trigger("/pair/clear_estop")
    operator.both(ArmState.IDLE)
    operator.start_moving()
    operator.trigger("/pair/stop")
    operator.both(ArmState.READY)


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_when_chunks_stop_both_stop_and_one_arm_is_not_started_alone(operator: Operator):
    operator.start_moving()
    operator.acting = False
    try:
        operator.spin(lambda: not operator.together.startswith("RUNNING"), ANSWER_S, "the coordinator to notice")
        operator.both(ArmState.READY)
        operator.trigger("/right/arm/start")
        operator.spin(lambda: "moved alone" in operator.together, ANSWER_S, "the coordinator to notice")
        operator.both(ArmState.READY)
    finally:
        operator.acting = True
