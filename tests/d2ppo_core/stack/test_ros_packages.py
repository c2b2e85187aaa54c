"""What nodes lack, and the refusals of building them; the build itself is what sets up this environment."""

import importlib.metadata
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack import ros_packages
from d2ppo_core.stack.ros_packages import VERBS, missing_ros, other_version, ros_home

FIX = [sys.executable, "-m", "d2ppo_core.cli.main", "doctor", "--fix-ros"]


def test_the_set_up_environment_lacks_nothing() -> None:
    assert missing_ros() == ""


def test_the_table_names_the_verbs_that_the_nodes_bring() -> None:
    brought = [point.name for point in entry_points(group="d2ppo.commands") if point.value.startswith("d2ppo_nodes")]
    assert sorted(VERBS) == sorted(set(brought))


def test_nodes_of_another_version_are_refused_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    here = importlib.metadata.version("d2ppo-panda")
    monkeypatch.setattr(ros_packages, "version", lambda name: "9.9.9" if name == "d2ppo_nodes" else here)
    wanted = f"the ROS packages here are of d2ppo 9.9.9, this is {here}; run: d2ppo doctor --fix-ros"
    assert other_version() == missing_ros() == wanted


def test_a_folder_that_was_left_over_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "d2ppo_left_over").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ros_packages, "NODES", "d2ppo_left_over")
    assert missing_ros() == "the ROS package d2ppo_left_over must be built here; run: d2ppo doctor --fix-ros"


def test_building_where_there_is_no_virtual_environment_is_refused() -> None:
    path = os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    command = [base, "-m", "d2ppo_core.cli.main", "doctor", "--fix-ros"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 2 and "this Python runs in none; make one" in done.stderr


def test_building_without_compiler_names_the_packages(tmp_path: Path) -> None:
    done = subprocess.run(FIX, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": str(tmp_path)})
    assert done.returncode == 2
    wanted = "building ROS packages needs cmake and make and g++; run: apt-get install cmake make g++"
    assert done.stderr == f"d2ppo: {wanted}\n"


def test_only_one_thing_is_mended_at_a_time() -> None:
    done = subprocess.run([*FIX, "--fix-client", "fr3"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "got both" in done.stderr


def test_ros_of_wheels_of_apt_and_of_nowhere_are_told_apart(tmp_path: Path) -> None:
    rclpy = tmp_path / "jazzy/lib/python3.12/site-packages/rclpy"
    rclpy.mkdir(parents=True)
    with pytest.raises(ConfigError, match="no folder above it has share/ament_index"):
        ros_home(rclpy)
    (tmp_path / "jazzy/share/ament_index").mkdir(parents=True)
    assert ros_home(rclpy) == tmp_path / "jazzy"
    assert ros_home(Path(sys.prefix) / "lib/python3.11/site-packages/rclpy") is None
