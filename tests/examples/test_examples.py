"""The examples run as they stand: those for a robot against a served one, those for ROS against a live stack."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 110


def run(name: str, *arguments: str) -> str:
    """Run an example to its end and return what it printed."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def served(request: pytest.FixtureRequest, robot_address: str) -> Iterator[str]:
    """Address of a simulated robot that runs as fast as its client answers, unless a test has other options."""
    options = getattr(request, "param", ["--no-real-time"])
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", robot_address, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline().startswith("task lift")
        yield robot_address
        server.terminate()


def test_every_example_is_short_and_has_a_test():
    files = sorted(EXAMPLES.glob("*.py"))
    assert len(files) == 8
    tests = Path(__file__).read_text(encoding="utf-8")
    for file in files:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 80, file.name
        assert f'run("{file.stem}"' in tests, f"{file.name} has no test"


def test_plain_franky_moves_the_hand_down_and_back(served: str):
    words = run("drive_with_franky", "--address", served).replace(",", "").split()
    first, below, back = (float(words[i]) for i in (4, 7, 10))
    assert first - below == pytest.approx(0.05, abs=2e-3)
    assert back == pytest.approx(first, abs=2e-3)


def test_a_bundle_answers_without_a_robot():
    printed = run("infer_with_a_bundle")
    assert printed.startswith("lift_state: osc_delta at 20 Hz, K = 10")
    assert "a chunk of 4 actions in" in printed


@pytest.mark.parametrize("served", [[]], indirect=True, ids=["real-time"])  # the example's pace is the wall clock's
def test_chunks_reach_an_arm_without_ros(served: str):
    printed = run("stream_chunks", "--address", served, "--seconds", "3")
    assert printed.startswith("RUNNING: ")
    assert int(printed.split()[1]) >= 5 and ", 0 refused" in printed


def test_the_filter_stops_at_table_and_shelf():
    begin, table, shelf = run("write_a_cell").splitlines()
    assert begin.startswith("begins at")
    assert "0.015] m, cut by" in table and "'table'" in table
    assert "'keep_out'" in shelf and "[0.552 0.25 " in shelf


def test_batched_worlds_step_in_a_loop():
    printed = run("batched_worlds", "--num-envs", "4", "--steps", "31")
    assert "object: (4, 10)" in printed and "4 episodes ended" in printed


def test_a_data_set_is_written_and_read_again():
    printed = run("read_and_write_data")
    assert "25 steps, actions (25, 7)" in printed and "subset 'valid' holds 1 of 3" in printed


def test_a_driver_of_ones_own_delivers_frames():
    assert "10 frames of (96, 96, 3)" in run("write_a_camera_driver")


@pytest.mark.slow
def test_a_node_of_ones_own_operates_the_stack(robot_address: str, ros_domain_id: int):
    description = load_stack("sim", {"robot_address": robot_address, "bundle": "lift_image"})
    with Stack(description, domain_id=ros_domain_id) as stack:
        printed = run("ros_client")
        stack.check()
    assert "arm/home: done" in printed and "arm/start: done" in printed and "arm/stop: done" in printed
    assert int(printed.rsplit(" chunks heard", 1)[0].split()[-1]) > 0
