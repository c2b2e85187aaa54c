import os
import subprocess
import sys
from pathlib import Path

import pytest

from d2ppo_core.doctor.finding import Status, run_python
from d2ppo_core.doctor.ros import check_interfaces, check_nodes, check_rclpy


def test_the_set_up_environment_has_ros_interfaces_and_nodes() -> None:
    assert check_rclpy(os.environ).text == "rclpy with rmw_fastrtps_cpp"
    assert check_interfaces(os.environ).status is Status.OK
    assert check_nodes(os.environ).status is Status.OK


@pytest.mark.parametrize(
    ("module", "check", "cure"),
    [
        ("rclpy", check_rclpy, "pip install 'd2ppo-panda[ros]', or source your ROS 2 install"),
        ("d2ppo_interfaces", check_interfaces, "d2ppo doctor --fix-ros"),
        ("d2ppo_nodes", check_nodes, "d2ppo doctor --fix-ros"),
    ],
)
def test_a_missing_part_of_ros_is_a_failure_with_the_command_that_brings_it(
    module: str, check, cure: str, tmp_path: Path
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module} here')")
    finding = check({**os.environ, "PYTHONPATH": str(tmp_path)})
    assert finding.status is Status.FAIL
    assert f"no {module} here" in finding.text and finding.text.endswith(f"run: {cure}")


def test_a_snippet_that_crashes_or_hangs_is_an_answer() -> None:
    assert run_python("import os; os.abort()", os.environ) == (False, "killed by signal 6")
    assert run_python("import time; time.sleep(30)", os.environ, limit_s=0.5) == (False, "no answer within 0.5 s")


def test_the_doctor_lists_what_fails_and_exits_with_1(tmp_path: Path, robot_address: str) -> None:
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "doctor", "--set", f"bundle={tmp_path / 'none'}"]
    command += ["--set", f"robot_address={robot_address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.strip() == "d2ppo: not ready for stack sim: Policy bundle"
    rows = {line[6:24].strip(): line[:4].strip() for line in done.stdout.splitlines()}
    assert rows["Policy bundle"] == "fail"
    assert rows["ROS 2"] == "ok"
    assert len(rows) == 13


def test_the_doctor_runs_without_a_python_on_the_path(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "doctor", "--set", f"bundle={tmp_path / 'none'}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env={**os.environ, "PATH": str(tmp_path)}
    )
    assert "ok    ROS 2" in done.stdout
    assert "warn  Debian packages" in done.stdout
