"""Nodes take the path of a user's own task, and say in one line what is wrong with it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.task_folders import VARIABLE  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_task" / "stack_cubes"


def start_node(program: str, *parameters: str) -> subprocess.Popen[str]:
    """Start a node with parameters, as a stack does."""
    words = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", f"d2ppo_nodes.{program}", "--ros-args", *words]
    environment = {**os.environ, VARIABLE: ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("program", "part", "old", "new", "message"),
    [
        ("sim_node", "world.xml", '<include file="panda.xml"/>', "", "world.xml: there is no arm in it"),
        ("sim_node", "task.py", '["red_pos"]', '["rot_pos"]', "task stack_cubes: success raised KeyError: 'rot_pos'"),
        ("policy_node", "task.py", "TASK = ", "TISK = ", "task.py: wanted TASK = <an OwnTask>, got None"),
    ],
)
def test_a_node_refuses_a_broken_folder_in_one_line(
    ros_domain_id: int, robot_address: str, tmp_path: Path, program: str, part: str, old: str, new: str, message: str
):
    folder = shutil.copytree(EXAMPLE, tmp_path / "stack_cubes")
    text = (folder / part).read_text(encoding="utf-8")
    assert old in text
    (folder / part).write_text(text.replace(old, new), encoding="utf-8")
    address = [f"robot_address:={robot_address}"] if program == "sim_node" else []
    output, _ = (process := start_node(program, f"task:={folder}", *address)).communicate(timeout=60.0)
    assert process.returncode == 1 and message in output and "Traceback" not in output


def test_the_world_of_ones_own_task_is_served(ros_domain_id: int, robot_address: str):
    process = start_node("sim_node", f"task:={EXAMPLE}", f"robot_address:={robot_address}", "robot:=fr3")
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("world 'stack_cubes' serves a fr3" in line for line in lines)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60.0)
