"""A gamepad's events through the live stack: the arm follows, stops, is taken from a policy and given back."""

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from std_msgs.msg import String  # noqa: E402

from d2ppo_core.runtime.teleop import gamepad as pad  # noqa: E402
from d2ppo_core.stack.loader import load_stack  # noqa: E402
from d2ppo_core.stack.runner import Stack  # noqa: E402
from d2ppo_interfaces.msg import ArmState, TeleopStatus  # noqa: E402
from d2ppo_nodes.client import StackClient, client_of  # noqa: E402
from d2ppo_nodes.convert import time_ns, transform_of, twist_of  # noqa: E402
from d2ppo_nodes.qos import EVERY, LATCHED  # noqa: E402
from d2ppo_nodes.scripted_hand import scripted_hand  # noqa: E402

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]
FULL = 32767


class Pad:
    """The other end of the FIFO that stands for the pad."""

    def __init__(self, path: Path) -> None:
        self._path, self._fd = path, -1

    def send(self, *events: tuple[int, int, int]) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY)
        os.write(self._fd, b"".join(pad.event(*one) for one in (*events, (pad.SYN, pad.SYN_REPORT, 0))))

    def hold(self, held: bool) -> None:
        self.send((pad.KEY, pad.DEADMAN, int(held)))

    def push_left(self, share: float) -> None:
        self.send((pad.ABS, pad.LEFT_X, round(-share * FULL)))


@pytest.fixture(scope="module")
def device(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("device") / "pad"
    os.mkfifo(path)
    return path


@pytest.fixture(scope="module")
def stack(module_address: str, ros_domain_id: int, device: Path) -> Iterator[Stack]:
    chosen = {"robot_address": module_address, "teleop": "gamepad", "device_path": str(device)}
    with Stack(load_stack("sim", chosen), domain_id=ros_domain_id) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[StackClient]:
    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
    client = client_of(stack.description)
    client.spin_until(lambda: client.arm and client.policy, 90.0, "the stack", stack.check)
    yield client
    client.close()


@pytest.fixture(scope="module")
def hand(device: Path, client: StackClient) -> Pad:
    return Pad(device)


@pytest.fixture
def ready(client: StackClient) -> None:
    client.trigger("arm/home")
    client.spin_until(lambda: client.arm.reason == "homing", 30.0, "the arm to home")
    client.spin_until(lambda: client.arm.state == ArmState.READY, 40.0, "the arm to be home")


def wait(client: StackClient, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    client.spin_until(lambda: time.monotonic() > until_s, seconds + 5.0, "time")


def reference_m(client: StackClient) -> np.ndarray:
    return transform_of(client.arm.reference_pose)[:3, 3]


def test_the_policy_is_taken_over_and_given_back_and_never_acts_on_what_it_saw_before(ready, client, hand):
    client.trigger("arm/start")
    client.spin_until(lambda: client.arm.chunks_accepted > 2, 20.0, "the policy to move the arm")
    assert not client.arm.by_hand
    epoch, begin = client.arm.epoch, reference_m(client)
    hand.send((pad.KEY, pad.DEADMAN, 1), (pad.ABS, pad.LEFT_X, -FULL))
    client.spin_until(lambda: client.arm.by_hand, 5.0, "the takeover")
    assert client.arm.reason == "a hand has the arm" and client.arm.bundle_hash == "hand"
    wait(client, 1.0)
    assert client.arm.by_hand and client.arm.epoch == epoch
    assert reference_m(client)[1] - begin[1] > 0.02, "to the left"
    states: list[ArmState] = []
    client.on_arm = lambda state, _: states.append(state)
    hand.send((pad.KEY, pad.DEADMAN, 0), (pad.ABS, pad.LEFT_X, 0))
    client.spin_until(lambda: not client.arm.by_hand and client.arm.state == ArmState.RUNNING, 10.0, "the policy")
    client.on_arm = lambda state, _: None
    assert client.arm.epoch == epoch + 1 and client.arm.bundle_hash not in ("", "hand")
    given_back = next(state for state in states if not state.by_hand)
    assert given_back.state == ArmState.HOLDING and "the hand let go" in given_back.reason
    assert time_ns(client.arm.chunk_stamp) >= time_ns(given_back.header.stamp) - 8_000_000


def test_a_node_that_dies_while_it_has_the_arm_lets_it_go(ready, client, hand, stack):
    client.trigger("arm/start")
    hand.hold(True)
    client.spin_until(lambda: client.arm.by_hand, 10.0, "the takeover")
    reasons: set[str] = set()
    client.on_arm = lambda state, _: reasons.add(state.reason)
    os.kill(stack.processes["teleop"].pid, signal.SIGKILL)
    client.spin_until(lambda: not client.arm.by_hand, 5.0, "the arm to notice")
    client.on_arm = lambda state, _: None
    assert any("no chunk of the hand for 0.1" in reason for reason in reasons), reasons
    stack.check()  # the stack goes on without it


def test_keys_in_a_terminal_move_the_arm_and_ctrl_c_leaves_the_terminal_as_it_was(ready, client, stack):
    """The policy's node is stopped: the hand moves the arm alone."""
    stack.stop_node("policy")
    ours, theirs = pty.openpty()
    heard: list[TeleopStatus] = []
    pressed: list[str] = []
    node = client._node
    node.create_subscription(TeleopStatus, "teleop/status", heard.append, LATCHED)
    node.create_subscription(String, "teleop/button", lambda message: pressed.append(message.data), EVERY)
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "teleop", "--path", os.ttyname(theirs)]
    verb = subprocess.Popen(
        command, env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        client.spin_until(lambda: heard and heard[-1].device == "keyboard", 40.0, "the keyboard's node")
        os.write(ours, b"\r")
        client.spin_until(lambda: client.arm.state == ArmState.RUNNING, 10.0, "start")
        begin = reference_m(client)
        for _ in range(30):
            os.write(ours, b"r")
            wait(client, 0.04)
        assert client.arm.by_hand and heard[-1].held and heard[-1].command.linear.z > 0.0
        assert reference_m(client)[2] - begin[2] > 0.01, "up"
        client.spin_until(lambda: not client.arm.by_hand, 10.0, "the hand to let go")
        assert client.arm.state == ArmState.HOLDING and np.abs(twist_of(client.arm.reference_twist)).max() < 1e-3
        os.write(ours, b"y")
        client.spin_until(lambda: pressed == ["start", "success"], 5.0, f"the presses, not {pressed}")
    finally:
        verb.send_signal(signal.SIGINT)
        _, said = verb.communicate(timeout=20)
    assert verb.returncode == 0 and "Traceback" not in said, said
    assert termios.tcgetattr(theirs)[3] & termios.ECHO
    os.close(ours), os.close(theirs)


def test_a_scripted_hand_lifts_the_cube_by_nothing_but_a_gamepads_events(client, stack):
    """The policy's node does not run any more, nor does another hand's."""
    assert (
        set(stack.processes) == {"sim", "camera", "teleop", "arm"} and stack.processes["teleop"].exit_code is not None
    )
    accepted, pressed = client.arm.chunks_accepted, list[str]()
    client._node.create_subscription(String, "teleop/button", lambda message: pressed.append(message.data), EVERY)
    with scripted_hand(client, "panda", "lift", stack.check) as hand:
        episode = hand.episode(seed=1)
    assert episode.success and episode.seconds < 15.0
    assert client.world.success and client.arm.bundle_hash == "hand"
    assert client.arm.chunks_accepted - accepted > 20
    client.spin_until(lambda: "stop" in pressed, 20.0, "the last press")
    told = [button for button in pressed if button in ("start", "episode", "success", "failure", "stop")]
    assert list(dict.fromkeys(told)) == ["start", "episode", "success", "stop"], "what a recorder goes by"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--device", "gamepad", "--path", "/dev/input/event99"], "gamepad /dev/input/event99 cannot be opened"),
        (["--path", "/dev/null"], "the keyboard needs a terminal, and /dev/null is none"),
        (["--speed", "3"], "3.0 is not in the range"),
    ],
)
def test_what_is_wrong_with_a_device_is_one_line_before_anything_starts(options, line):
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "teleop", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and line in done.stderr and "Traceback" not in done.stderr
