"""Ctrl-C at any time is a quiet end: while a program still imports, and in the middle of its work."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d2ppo_core.interrupt import INTERRUPTED, end_quietly_while_loading, was_interrupted

QUIET = (-signal.SIGINT, INTERRUPTED)
SIGINT_BIT = 1 << (signal.SIGINT - 1)


def hears_sigint(pid: int) -> bool:
    """Whether a process has a handler of its own for Ctrl-C, as Python has from its start."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return bool(int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16) & SIGINT_BIT)


def interrupted(arguments: list[str], after_s: float) -> tuple[int, str]:
    """Run a program, press Ctrl-C ``after_s`` after the first of our own lines ran; return exit code and output."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # whoever runs these tests in the background had Ctrl-C ignored for all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for wanted in (True, False):  # Python has started; the first of our lines has run
        deadline = time.monotonic() + 20.0
        while hears_sigint(process.pid) is not wanted and time.monotonic() < deadline:
            time.sleep(0.001)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


@pytest.mark.timeout(180)
@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.5])
@pytest.mark.parametrize(
    "verb", [["doctor"], ["demos", "lift", "--num", "500", "--no-images", "--out", "OUT"], ["evaluate", "lift", "x"]]
)
def test_ctrl_c_ends_a_verb_quietly(verb: list[str], after_s: float, tmp_path: Path) -> None:
    arguments = [str(tmp_path / "out.hdf5") if word == "OUT" else word for word in verb]
    code, output = interrupted(["d2ppo_core.cli.main", *arguments], after_s)
    assert "Traceback" not in output
    if code == INTERRUPTED:
        assert output.splitlines()[-1] == "d2ppo: interrupted"
    else:  # the machine was quick and the verb had ended, or Ctrl-C came while it loaded
        assert code == -signal.SIGINT or "interrupted" not in output


@pytest.mark.timeout(120)
@pytest.mark.parametrize("node", ["arm", "camera", "coordinator", "policy", "sim"])
def test_ctrl_c_ends_a_node_quietly_that_still_loads(node: str, ros_domain_id: int) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")
    for after_s in (0.0, 0.4):
        code, output = interrupted([f"d2ppo_nodes.{node}_node", "--ros-args", "-p", "autostart:=false"], after_s)
        assert "Traceback" not in output
        assert code in (*QUIET, 0), output


def test_a_process_that_only_imports_our_code_keeps_its_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    end_quietly_while_loading("d2ppo")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_of_a_module_that_was_interrupted_while_it_loaded_counts() -> None:
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("numpy.core failed to import") from error
    except ImportError as error:
        assert was_interrupted(error)
    assert not was_interrupted(ImportError("no such module"))
