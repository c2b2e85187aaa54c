"""``d2ppo record`` from the command line, against a recorder that runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rclpy.node import Node  # noqa: E402

from d2ppo_core.runtime.recording.episode import Facts, finished  # noqa: E402
from d2ppo_interfaces.msg import ArmState  # noqa: E402
from d2ppo_nodes.qos import STREAM  # noqa: E402

SPACE = "/test_cli_record"
VERBS = ("discard", "failure", "start", "status", "stop", "success")


def record(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "record", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recordings") / "lift"


@pytest.fixture(scope="module")
def recorder(ros_domain_id: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A recorder, with an arm that says how it is whenever it is asked to."""
    command = [sys.executable, "-m", "d2ppo_nodes.recorder_node", "--ros-args", "-r", f"__ns:={SPACE}"]
    for parameter in (f"folder:={folder}", "min_free_mib:=1", "task:=lift"):
        command += ["-p", parameter]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


@pytest.fixture(scope="module")
def arm(ros_domain_id: int) -> Iterator[Node]:
    context = rclpy.Context()
    context.init(domain_id=ros_domain_id)
    node = rclpy.create_node("arm", namespace=SPACE, context=context)
    states = node.create_publisher(ArmState, "arm/state", STREAM)
    state = ArmState(state=ArmState.READY, robot_time_ms=1)
    state.header.frame_id = "fr3_link0"
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.create_timer(0.02, lambda: states.publish(state))
    import threading

    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5.0)
    node.destroy_node()
    context.shutdown()


def test_without_a_recorder_every_verb_says_how_to_get_one(ros_domain_id: int) -> None:
    done = record("start", "--timeout", "0.5", "--namespace", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no recorder answers; start the stack with one: d2ppo up sim --set record=FOLDER" in done.stderr


def test_an_episode_is_begun_judged_and_told(arm: Node, recorder: subprocess.Popen[str], folder: Path) -> None:
    assert "idle, 0 episodes in" in (first := record("status")).stdout, first.stderr
    refused = record("success")
    assert (refused.returncode, refused.stderr) == (1, "d2ppo: no episode is being recorded\n")
    assert record("start").stdout == "episode_0001 begins\n"
    told = record("status").stdout
    assert told.startswith(f"recording, 0 episodes in {folder}; episode_0001: ") and " 0 lost" in told
    again = record("start")
    assert (again.returncode, again.stderr) == (1, "d2ppo: episode_0001 is being recorded already\n")
    assert record("stop").stdout.startswith("episode_0001: unjudged, ")
    assert record("failure").stdout.startswith("episode_0001: failure, ")
    assert finished(folder)[0].outcome == "failure"
    facts = Facts.read(folder / "episode_0001")
    assert facts.outcome == "unjudged" and facts.messages["arm/state"] > 10
    assert os.listdir(folder / "episode_0001") and "idle, 1 episodes" in record("status", "--namespace", SPACE).stdout


def test_every_verb_is_explained() -> None:
    text = record("--help").stdout
    assert [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()] == list(VERBS)
