"""tools/run_tests.py on a small project: both parts run, one line counts both, the exit code is the worse one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import os
import pytest

def test_beside_others():
    assert ("PYTEST_XDIST_WORKER" in os.environ) == (os.environ["TEST_WORKERS"] != "0")

def test_that_fails():
    assert "FAILS" not in os.environ

@pytest.mark.alone
def test_alone():
    assert "PYTEST_XDIST_WORKER" not in os.environ

def test_with_a_robot(robot_address):
    assert "PYTEST_XDIST_WORKER" not in os.environ and robot_address.startswith("127.0.0.")

@pytest.mark.hardware
def test_skipped():
    raise AssertionError
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\nmarkers =\n    alone\n    hardware\n")
    (tmp_path / "test_small.py").write_text(TESTS)
    ours = ("PYTEST_XDIST", "D2PPO_HARDWARE", "D2PPO_TALLY")

    def run(*arguments: str, workers: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return subprocess.run(
            [sys.executable, str(ROOT / "tools" / "run_tests.py"), *arguments],
            cwd=tmp_path,
            env={**inherited, "TEST_WORKERS": str(workers), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )

    return run


def test_both_parts_run_and_are_counted_in_the_last_line_after_the_reasons_of_skips(run: Callable[..., object]) -> None:
    done = run(workers=2)
    assert done.returncode == 0, done.stdout
    assert "==== both parts: 4 passed, 1 skipped in " in done.stdout.splitlines()[-1]
    assert "needs a robot or a camera; set D2PPO_HARDWARE=1 to run it" in done.stdout


def test_a_failure_in_the_first_part_is_the_exit_code_and_named_at_the_end(run: Callable[..., object]) -> None:
    done = run(FAILS="1")
    assert done.returncode == 1
    failed, last = done.stdout.splitlines()[-2:]
    assert failed == "FAILED test_small.py::test_that_fails" and "1 failed, 3 passed, 1 skipped" in last


def test_the_second_part_does_not_run_when_the_first_was_to_stop_at_a_failure(run: Callable[..., object]) -> None:
    done = run("-x", FAILS="1")
    assert done.returncode == 1 and "1 failed, 1 passed in" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code"), [(["-k", "nothing"], 5), (["--no-such-option"], 4), (["-k", "robot"], 0)]
)
def test_one_part_without_tests_is_fine_both_are_not_and_a_wrong_option_is_pytests(
    run: Callable[..., object], arguments: list[str], code: int
) -> None:
    assert run(*arguments).returncode == code
