"""The operator's verbs with an arm node and a robot behind it, and what they say when somebody else is there."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.errors import StackError  # noqa: E402
from d2ppo_interfaces.msg import ArmState  # noqa: E402
from d2ppo_nodes.claims import Newcomers  # noqa: E402
from d2ppo_nodes.cli.arm import arm  # noqa: E402

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
SHELF = "shelf: [0.0, -0.3, 0.0, -2.4, 0.0, 2.1, 0.785]"


def start_arm(namespace: str, address: str, *parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args", "-r", f"__ns:=/{namespace}"]
    for parameter in (f"robot_address:={address}", "connect_timeout_s:=30.0", f"poses:='{SHELF}'", *parameters):
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def node(ros_domain_id: int, robot_address: str) -> Iterator[str]:
    robot = subprocess.Popen([sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", robot_address])
    process = start_arm("lab", robot_address)
    yield robot_address
    for one in (process, robot):
        one.terminate()
        one.wait(15)


def run(*words: str) -> Result:
    return CliRunner().invoke(arm, [*words, "--timeout", "40"])


def done(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0 and result.stderr == "", (words, result.output, result.exception)
    assert len(result.stdout.splitlines()) == 1
    return result.stdout.strip()


def refused(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 1 and result.stdout == "", (words, result.output, result.exception)
    (line,) = result.stderr.splitlines()
    return line


def test_an_operator_has_arm_and_hand_in_hand_by_verbs(node: str) -> None:
    assert "lab: IDLE: connected; call home" in done("status")
    assert refused("start") == "d2ppo: lab: start needs READY, HOLDING, RUNNING; the arm is IDLE: connected; call home"
    assert done("home") == "lab: READY: at home"
    assert done("go-to", "shelf") == "lab: READY: at shelf"
    assert "no pose named 'roof'; known: home, shelf" in refused("go-to", "roof")
    assert done("gripper", "home").endswith("80 mm open")
    assert done("gripper", "move", "0.05") == "lab: hand 50 mm open"
    assert refused("gripper", "close") == "d2ppo: lab: nothing was grasped"
    assert done("gripper", "open") == "lab: hand 80 mm open"
    assert done("start") == "lab: follows chunks"
    assert "moving the hand needs IDLE, READY, REFLEX, USER_STOPPED; the arm is" in refused("gripper", "open")
    assert done("stop") == "lab: stopped by the operator"
    assert done("estop") == "lab: emergency stop; d2ppo arm clear ends it"
    assert "home needs" in refused("home", "--namespace", "lab")
    assert "call home" in done("clear")
    assert "recover needs REFLEX, DISCONNECTED, USER_STOPPED" in refused("recover")


def test_a_second_arm_node_under_the_same_names_is_refused_and_the_first_goes_on(node: str) -> None:
    assert done("home") == "lab: READY: at home"
    second = start_arm("lab", "127.0.0.1", "connect_timeout_s:=0.0")
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    (line,) = [line for line in output.splitlines() if "FATAL" in line]
    assert "node /lab/arm runs already in this ROS domain" in line and "--namespace" in line
    assert "READY: at home" in done("status")


def test_an_arm_that_appears_under_the_same_topics_brings_the_first_to_rest(node: str, ros_domain_id: int) -> None:
    assert done("home") == "lab: READY: at home"
    context = rclpy.Context()
    context.init(domain_id=ros_domain_id)
    other = rclpy.create_node("other_arm", namespace="/lab", context=context)
    time.sleep(Newcomers.YOUNG_S)  # now the first is the older one
    publisher = other.create_publisher(ArmState, "arm/state", 1)
    try:
        deadline = time.monotonic() + 20.0
        while "node /lab/other_arm runs under the same names" not in run("status").stdout:
            assert time.monotonic() < deadline
        assert "stop one of them" in refused("home")
    finally:
        other.destroy_publisher(publisher)
        other.destroy_node()
        context.try_shutdown()
    time.sleep(1.5)
    assert done("home") == "lab: READY: at home"


def test_nobody_there_is_a_users_error_that_says_where_it_looked(ros_domain_id: int) -> None:
    result = CliRunner().invoke(arm, ["status", "--timeout", "0.5"])
    assert isinstance(result.exception, StackError)  # which the program turns into one line and exit code 2
    assert f"no arm answers in ROS domain {ros_domain_id}" in str(result.exception)
    assert CliRunner().invoke(arm, ["status", "--domain-id", "400"]).exit_code == 2
    assert CliRunner().invoke(arm, ["gripper", "move", "3"]).exit_code == 2
