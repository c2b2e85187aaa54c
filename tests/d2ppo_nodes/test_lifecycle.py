"""Every node survives its whole lifecycle by service calls, twice, and leaves nothing behind when it is cleaned up."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.client import Client  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from d2ppo_interfaces.msg import ArmState  # noqa: E402
from d2ppo_nodes.qos import SENSOR  # noqa: E402

pytestmark = pytest.mark.timeout(120)
NAMESPACE = "/test_lifecycle"
START_S = 40.0
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
OWN = {
    "sim": {"/clock", f"{NAMESPACE}/sim/state", f"{NAMESPACE}/sim/reset_world", f"{NAMESPACE}/sim/step"},
    "camera": {f"{NAMESPACE}/camera/wrist/color/image_raw", f"{NAMESPACE}/camera/wrist/policy/image_raw"},
    "policy": {f"{NAMESPACE}/policy/chunk", f"{NAMESPACE}/policy/load", f"{NAMESPACE}/arm/state"},
    "arm": {f"{NAMESPACE}/arm/state", f"{NAMESPACE}/arm/home", f"{NAMESPACE}/estop", f"{NAMESPACE}/policy/chunk"},
    "coordinator": {f"{NAMESPACE}/state", f"{NAMESPACE}/home", f"{NAMESPACE}/estop"},
}
"""Some of what each node has on the graph once it is configured."""


def start_node(module: str, *parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"d2ppo_nodes.{module}", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in ("autostart:=false", *parameters):
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Operator:
    """Calls services, with a time limit, and sees the graph."""

    def __init__(self, domain_id: int) -> None:
        self._context = rclpy.Context()
        self._context.init(domain_id=domain_id)
        self.node = rclpy.create_node("operator", namespace=NAMESPACE, context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Client] = {}
        self.arm: ArmState | None = None
        self.node.create_subscription(ArmState, "arm/state", self._hear, SENSOR)

    def _hear(self, state: ArmState) -> None:
        self.arm = state

    def spin_until(self, done, timeout_s: float = START_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"waited in vain; arm {self.arm and self.arm.reason}"
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, kind, name: str, request):
        if name not in self._clients:
            self._clients[name] = client = self.node.create_client(kind, name)
            self.spin_until(client.service_is_ready)
            found_s = time.monotonic()  # the server may find the client a moment later; its answer is lost until then
            self.spin_until(lambda: time.monotonic() > found_s + 0.5)
        future = self._clients[name].call_async(request)
        self.spin_until(future.done)
        return future.result()

    def change(self, node: str, transition: int) -> bool:
        return self.call(
            ChangeState, f"{node}/change_state", ChangeState.Request(transition=Transition(id=transition))
        ).success

    def trigger(self, name: str) -> Trigger.Response:
        self._clients.pop(name, None)  # the server may be a new one
        return self.call(Trigger, name, Trigger.Request())

    def interfaces(self, name: str) -> Counter[str]:
        """Publishers, subscriptions and services of a node by topic; how many of each there are."""
        node = self.node
        found: Counter[str] = Counter()
        for topic, _ in node.get_topic_names_and_types():
            ends = node.get_publishers_info_by_topic(topic) + node.get_subscriptions_info_by_topic(topic)
            found[topic] += sum((end.node_name, end.node_namespace) == (name, NAMESPACE) for end in ends)
        found.update(service for service, _ in node.get_service_names_and_types_by_node(name, NAMESPACE))
        return +found

    def settled(self, name: str, still_s: float = 1.0) -> Counter[str]:
        """The same once it has not changed for a while: a button listens twice as soon as it knows who presses it."""
        seen, since_s = self.interfaces(name), time.monotonic()
        while time.monotonic() < since_s + still_s:
            self._executor.spin_once(timeout_sec=0.05)
            if (now := self.interfaces(name)) != seen:
                seen, since_s = now, time.monotonic()
        return seen

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def operator(ros_domain_id: int) -> Iterator[Operator]:
    operator = Operator(ros_domain_id)
    yield operator
    operator.close()


@pytest.fixture
def robot(robot_address: str) -> Iterator[str]:
    """A robot without ROS."""
    process = subprocess.Popen([sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", robot_address])
    yield robot_address
    process.terminate()
    process.wait(10)


def stop(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60.0)
    return process.returncode, output


def parameters_of(name: str, robot_address: str, request: pytest.FixtureRequest) -> list[str]:
    if name == "arm":
        return [f"robot_address:={request.getfixturevalue('robot')}", "connect_timeout_s:=30.0"]
    own = {"policy": ["bundle:=lift_image"], "coordinator": ["arms:=left,right"]}
    return own.get(name, [f"robot_address:={robot_address}"])


@pytest.mark.parametrize("name", OWN)
def test_a_node_goes_through_its_lifecycle_twice_and_takes_everything_along(name, operator, robot_address, request):
    process = start_node(f"{name}_node", *parameters_of(name, robot_address, request))
    try:
        state = operator.call(GetState, f"{name}/get_state", GetState.Request()).current_state
        assert state.label == "unconfigured", "autostart:=false leaves the transitions to the operator"
        unconfigured, seen = operator.interfaces(name), []
        for _ in range(2):
            assert operator.change(name, CONFIGURE)
            assert operator.change(name, ACTIVATE)
            assert not operator.change(name, ACTIVATE), "it is active already"
            assert operator.change(name, DEACTIVATE)
            assert operator.change(name, ACTIVATE)
            operator.spin_until(lambda: OWN[name] <= set(operator.interfaces(name)))
            seen.append(operator.settled(name))
            assert operator.change(name, DEACTIVATE)
            assert operator.change(name, CLEANUP)
            operator.spin_until(lambda: operator.interfaces(name) == unconfigured)
        assert seen[0] == seen[1]
        assert operator.change(name, CONFIGURE)
        assert operator.change(name, ACTIVATE)
    finally:
        code, output = stop(process)
    assert code == 0 and "Traceback" not in output and "FATAL" not in output, output


def test_an_inactive_arm_refuses_to_move_and_a_reconfigured_one_answers_once(operator, robot):
    process = start_node("arm_node", f"robot_address:={robot}", "connect_timeout_s:=30.0")
    try:
        assert operator.change("arm", CONFIGURE)
        answer = operator.trigger("arm/home")
        assert not answer.success and "the arm node is inactive" in answer.message
        assert operator.change("arm", ACTIVATE)
        assert operator.trigger("arm/home").success
        assert operator.change("arm", DEACTIVATE)
        assert (
            operator.change("arm", CLEANUP) and operator.change("arm", CONFIGURE) and operator.change("arm", ACTIVATE)
        )
        assert operator.trigger("arm/home").success
        operator.spin_until(lambda: operator.arm and operator.arm.state == ArmState.READY)
        assert operator.change("arm", DEACTIVATE) and operator.change("arm", ACTIVATE)
        operator.spin_until(lambda: operator.arm.state == ArmState.IDLE)
        assert operator.arm.reason == "the node was deactivated; call home"
        assert operator.trigger("arm/home").success
    finally:
        code, output = stop(process)
    assert code == 0 and "Traceback" not in output, output


def test_an_emergency_stop_that_latches_nothing_is_heard_too(operator, robot):
    process = start_node("arm_node", "autostart:=true", f"robot_address:={robot}", "connect_timeout_s:=30.0")
    try:
        button = operator.node.create_publisher(Bool, "estop", QoSProfile(depth=1))
        operator.spin_until(lambda: operator.arm and operator.arm.state == ArmState.IDLE)
        operator.spin_until(lambda: button.get_subscription_count() > 0)
        button.publish(Bool(data=True))
        operator.spin_until(lambda: operator.arm.state == ArmState.ESTOPPED)
    finally:
        code, output = stop(process)
    assert code == 0 and "Traceback" not in output, output


@pytest.mark.parametrize("name", OWN)
def test_a_node_that_is_shut_down_while_active_answers_and_ends_by_itself(name, operator, robot_address, request):
    process = start_node(f"{name}_node", *parameters_of(name, robot_address, request))
    try:
        assert operator.change(name, CONFIGURE) and operator.change(name, ACTIVATE)
        assert operator.change(name, Transition.TRANSITION_ACTIVE_SHUTDOWN)
        output, _ = process.communicate(timeout=60.0)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert not {"Traceback", "FATAL", "ERROR", "refused"} & set(output.replace("[", " ").replace("]", " ").split()), (
        output
    )


def test_a_node_that_is_shut_down_before_it_is_configured_ends_too(operator, robot_address):
    process = start_node("camera_node", f"robot_address:={robot_address}")
    assert operator.change("camera", Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0 and output == ""


def test_ticks_go_on_after_the_clock_was_changed_and_the_node_made_anew(operator, robot_address):
    """The node subscribes to /clock anew, later than to the rest; that subscription is not its own to destroy."""
    world = start_node("sim_node", f"robot_address:={robot_address}", "autostart:=true", "real_time:=true")
    arm = start_node(
        "arm_node", f"robot_address:={robot_address}", "connect_timeout_s:=30.0", "use_sim_time:=true", "cell:=sim_lift"
    )
    try:
        assert operator.change("arm", CONFIGURE) and operator.change("arm", ACTIVATE)
        for value in (False, True):
            parameter = Parameter("use_sim_time", value=value).to_parameter_msg()
            answer = operator.call(SetParameters, "arm/set_parameters", SetParameters.Request(parameters=[parameter]))
            assert answer.results[0].successful
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            assert operator.change("arm", transition)
        assert operator.trigger("arm/home").success
        operator.spin_until(lambda: operator.arm.state == ArmState.READY, timeout_s=60.0)
        world.send_signal(signal.SIGSTOP)  # the clock stands still, nobody says so
        until = time.monotonic() + 1.5
        operator.spin_until(lambda: time.monotonic() > until)
        for service in ("arm/home", "arm/start"):
            answer = operator.trigger(service)
            assert not answer.success and "the arm's clock stands still" in answer.message
        world.send_signal(signal.SIGCONT)
    finally:
        world.send_signal(signal.SIGCONT)
        code, output = stop(arm)
        stop(world)
    assert code == 0 and "Traceback" not in output, output
