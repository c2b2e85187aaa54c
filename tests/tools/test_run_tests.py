"""tools/run_tests.py on a small project: both parts run, one line counts both, the exit code is the worse one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INI = """
[pytest]
addopts = -ra
faulthandler_timeout = 4
faulthandler_exit_on_timeout = true
markers =
    alone
    hardware
"""
TESTS = """
import ctypes
import os
from pathlib import Path

import pytest

def test_beside_others():
    assert ("PYTEST_XDIST_WORKER" in os.environ) == (os.environ["TEST_WORKERS"] != "0")

def test_that_fails():
    assert "FAILS" not in os.environ

@pytest.mark.alone
def test_alone():
    assert os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") == "1"

def test_with_a_robot(robot_address):
    assert os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") == "1" and robot_address.startswith("127.0.0.")

@pytest.mark.alone
def test_that_stalls():
    stalls = Path(os.environ.get("STALLS", os.devnull))
    left = stalls.read_text() if stalls.is_file() else ""
    if left:
        stalls.write_text(left[1:])
        ctypes.PyDLL(None).sleep(60)  # keeps the interpreter: no other thread of Python gets a turn

@pytest.mark.hardware
def test_skipped():
    raise AssertionError
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(INI)
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
    assert "==== both parts: 5 passed, 1 skipped in " in done.stdout.splitlines()[-1]
    assert "needs a robot or a camera; set D2PPO_HARDWARE=1 to run it" in done.stdout


def test_a_failure_in_the_first_part_is_the_exit_code_and_named_at_the_end(run: Callable[..., object]) -> None:
    done = run(FAILS="1")
    assert done.returncode == 1
    failed, last = done.stdout.splitlines()[-2:]
    assert failed == "FAILED test_small.py::test_that_fails" and "1 failed, 4 passed, 1 skipped" in last


def test_the_second_part_does_not_run_when_the_first_was_to_stop_at_a_failure(run: Callable[..., object]) -> None:
    done = run("-x", FAILS="1")
    assert done.returncode == 1 and "1 failed, 1 passed in" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(("stalls", "code", "words"), [("x", 0, "RUN TWICE"), ("xx", 1, "FAILED")])
def test_a_test_that_hangs_in_c_is_ended_and_run_once_more_and_the_others_run(
    run: Callable[..., object], tmp_path: Path, stalls: str, code: int, words: str
) -> None:
    (tmp_path / "stalls").write_text(stalls)
    done = run("-k", "alone or stalls or robot", workers=1, STALLS=str(tmp_path / "stalls"))
    assert done.returncode == code
    named, last = done.stdout.splitlines()[-2:]
    assert named.startswith(words) and "test_that_stalls" in named
    assert ("3 passed, 1 rerun" if code == 0 else "1 failed, 2 passed") in last


@pytest.mark.parametrize(
    ("arguments", "code"), [(["-k", "nothing"], 5), (["--no-such-option"], 4), (["-k", "robot"], 0)]
)
def test_one_part_without_tests_is_fine_both_are_not_and_a_wrong_option_is_pytests(
    run: Callable[..., object], arguments: list[str], code: int
) -> None:
    assert run(*arguments).returncode == code
