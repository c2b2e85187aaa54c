import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2ppo_core.cli.up import parse_settings
from d2ppo_core.errors import ConfigError

STEADY = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print("pid", __import__("os").getpid(), flush=True)
while True: time.sleep(0.05)
"""
DEAF = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
print("pid", __import__("os").getpid(), flush=True)
while True: time.sleep(0.05)
"""
MORTAL = "import sys, time; time.sleep(0.5); sys.exit('camera lost')"


class Runner:
    """``d2ppo up`` as a real process, and the nodes that it started."""

    def __init__(self, folder: Path, programs: dict[str, str]) -> None:
        package = folder / "probes"
        package.mkdir()
        for name, program in programs.items():
            (package / f"{name}.py").write_text(program)
        stack = folder / "probe.yaml"
        stack.write_text(
            "namespace: panda\nnodes:\n"
            + "".join(f"  - {{name: {name}, package: probes, executable: {name}}}\n" for name in programs)
        )
        self.log = folder / "stack.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "d2ppo_core.cli.main", "up", str(stack), "--log", str(self.log)],
            env={**os.environ, "PYTHONPATH": str(folder)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_nodes(self, count: int) -> list[int]:
        deadline_s = time.monotonic() + 20.0
        while time.monotonic() < deadline_s:
            text = self.log.read_text() if self.log.exists() else ""
            pids = [int(line.split()[-1]) for line in text.splitlines() if "] pid " in line]
            if len(pids) == count:
                return pids
            time.sleep(0.02)
        raise AssertionError(f"no {count} nodes within 20 s: {text}")


def gone(pids: list[int], limit_s: float) -> bool:
    deadline_s = time.monotonic() + limit_s
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def run_up(tmp_path: Path) -> Iterator[object]:
    runners: list[Runner] = []

    def start(**programs: str) -> Runner:
        runners.append(Runner(tmp_path, programs))
        return runners[-1]

    yield start
    for runner in runners:
        if runner.process.poll() is None:
            runner.process.kill()
            runner.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_nodes_and_ends_with_exit_code_0(run_up, number: signal.Signals) -> None:
    runner = run_up(one=STEADY, two=STEADY)
    pids = runner.wait_for_nodes(2)
    runner.process.send_signal(number)
    _, errors = runner.process.communicate(timeout=60.0)
    assert runner.process.returncode == 0, errors
    assert errors.splitlines()[-1] == "d2ppo: stack probe stopped"
    assert gone(pids, 0.0)


def test_a_required_node_that_dies_ends_the_stack_with_exit_code_1_and_one_line(run_up) -> None:
    runner = run_up(one=STEADY, two=MORTAL)
    pids = runner.wait_for_nodes(1)
    _, errors = runner.process.communicate(timeout=60.0)
    assert runner.process.returncode == 1
    assert errors.splitlines()[-1] == "d2ppo: stack probe stopped: two ended with exit code 1: camera lost"
    assert gone(pids, 0.0)


def test_a_node_that_breaks_while_it_is_stopped_gives_exit_code_1_and_is_named(run_up) -> None:
    breaking = STEADY.replace("lambda *_: sys.exit(0)", "lambda *_: sys.exit('the robot kept moving')")
    runner = run_up(one=STEADY, two=breaking)
    runner.wait_for_nodes(2)
    runner.process.send_signal(signal.SIGINT)
    _, errors = runner.process.communicate(timeout=60.0)
    assert runner.process.returncode == 1
    last = "d2ppo: stack probe stopped: two ended with exit code 1: the robot kept moving (while it was stopped)"
    assert errors.splitlines()[-1] == last


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_closes_stops_the_stack_unless_nohup_asked_otherwise(run_up, nohup: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        runner = run_up(one=STEADY)
    finally:
        signal.signal(signal.SIGHUP, before)
    runner.wait_for_nodes(1)
    runner.process.send_signal(signal.SIGHUP)
    if nohup:
        time.sleep(1.0)
        assert runner.process.poll() is None
        runner.process.send_signal(signal.SIGTERM)
    _, errors = runner.process.communicate(timeout=60.0)
    assert runner.process.returncode == 0, errors


def test_no_node_outlives_a_runner_that_is_killed_not_even_a_deaf_one(run_up) -> None:
    runner = run_up(one=STEADY, two=DEAF)
    pids = runner.wait_for_nodes(2)
    runner.process.kill()
    runner.process.wait(timeout=60.0)
    assert gone(pids, 10.0)


def test_settings_are_texts_until_it_is_known_what_they_are_for() -> None:
    assert parse_settings(("a=1", "b.c=[1.5, 2.0]", "e=127.0.0.1", "f=", "g=a=b")) == {
        "a": "1",
        "b.c": "[1.5, 2.0]",
        "e": "127.0.0.1",
        "f": "",
        "g": "a=b",
    }
    with pytest.raises(ConfigError, match="--set wants key=value, got 'robot_address'"):
        parse_settings(("robot_address",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no stack 'nowhere'"),
        (["sim", "--set", "robot_adress=127.0.0.1"], "has no 'robot_adress'; wanted one of task, bundle"),
        (["sim", "--domain-id", "500"], "ROS_DOMAIN_ID must be in"),
        (["sim", "--namespace", "a/b"], "namespace must be one ROS name without slashes, got 'a/b'"),
        (["sim", "--set", "real_time=maybe"], "argument real_time must be true or false, got 'maybe'"),
        (
            ["sim", "--set", "arm.max_force_nn=5"],
            "arm: there is no parameter max_force_nn; did you mean max_force_n",
        ),
        (
            ["sim", "--set", "arm.max_force_n=500"],
            "arm: parameter max_force_n must be a number in [1.0, 100.0], got 500",
        ),
        (
            ["sim", "--set", "camera.width=96.5"],
            "camera: parameter width must be a whole number in [0, 4096], got 96.5",
        ),
        (["sim", "--set", "arm.home_q_rad=[0, 1]"], "arm: parameter home_q_rad needs 7 numbers, got 2"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "d2ppo_core.cli.main", "up", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
