"""One node as a child process: its own process group, its output in the log, a bounded way to stop it."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from d2ppo_core.errors import StackError
from d2ppo_core.stack.description import NodeDescription
from d2ppo_core.stack.log import StackLog

PR_SET_PDEATHSIG = 1
STOP_STEPS: tuple[tuple[signal.Signals, float], ...] = (
    (signal.SIGINT, 5.0),
    (signal.SIGTERM, 2.0),
    (signal.SIGKILL, 2.0),
)
"""Signal, then how long to wait for it in seconds."""

ENDED_AS_ASKED = (0, 130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a node that was asked to end, also of one that had not come to handle signals yet."""

ROS_LOG_PREFIX = re.compile(r"^\[[A-Z]+\] \[[0-9.]+\] \[[^\]]+\]: ")

_libc = ctypes.CDLL(None, use_errno=True)


def node_command(node: NodeDescription, namespace: str, params_file: Path) -> list[str]:
    """Write the node's parameters to ``params_file`` and return the command line that starts it.

    Args:
        node: the node.
        namespace: the stack's, for a node without one of its own.
        params_file: is written.
    """
    params_file.write_text(
        yaml.safe_dump({"/**": {"ros__parameters": dict(node.parameters)}}, sort_keys=False), encoding="utf-8"
    )
    command = [sys.executable, "-m", f"{node.package}.{node.executable}", "--ros-args"]
    command += ["-r", f"__node:={node.name}", "-r", f"__ns:=/{node.namespace or namespace}"]
    for source, target in node.remappings.items():
        command += ["-r", f"{source}:={target}"]
    return [*command, "--params-file", str(params_file)] if node.parameters else command


def last_words(lines: Sequence[str], *, killed: bool) -> str:
    """Return the line that says why a node ended.

    An error that it survived is not the reason: of the lines that end a program (a fatal one, the last of a traceback)
    the newest counts, without one the newest error. A node that was killed could not say why: its last line is all.
    """
    spoken = [line for line in lines if line.strip()]
    endings, after_traceback = [], False
    for line in spoken:
        if line.startswith("Traceback (most recent call last)"):
            after_traceback = True
        elif line.startswith("[FATAL]") or (after_traceback and not line.startswith(" ")):
            endings.append(line)
            after_traceback = False
    errors = [line for line in spoken if line.startswith("[ERROR]")]
    chosen = spoken[-1:] if killed else endings[-1:] or errors[-1:] or spoken[-1:]
    return ROS_LOG_PREFIX.sub("", "".join(chosen).strip())


class NodeProcess:
    """A running node. Start it from a thread that outlives it: the kernel ends it when that thread ends.

    Args:
        name: for the log and for messages.
        command: program and arguments.
        environment: all environment variables of the child.
        log: takes every line that the child prints.

    Raises:
        StackError: the program cannot be started.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: StackLog) -> None:
        """Start the child."""
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=50)
        self.ended_s: float | None = None
        """Monotonic time at which the node closed its output, in practice when it ended; None before."""
        self._log = log
        parent_pid = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent_pid:  # the parent died between fork and prctl
                os._exit(1)

        try:
            self._popen = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise StackError(f"{name} cannot be started: {error}") from None
        self._pump = threading.Thread(target=self._copy_output, name=f"log of {name}", daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the child's process group."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while the node runs."""
        return self._popen.poll()

    def describe_death(self) -> str:
        """Return one line: how the node ended, and the error that ended it or else the last line that it printed."""
        code = self._popen.wait()
        self._pump.join(timeout=1.0)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        words = last_words(list(self.last_lines), killed=code < 0)
        return f"{self.name} {how}" + (f": {words}" if words else "")

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the node and to what it started; nothing happens when all have ended."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # ended, or another group took the number over
            return

    def stop(self, steps: Sequence[tuple[signal.Signals, float]] = STOP_STEPS) -> str:
        """End the node and its process group: politely, then firmly, each step with its time limit.

        Returns:
            What was wrong about its end, one line; empty when it ended as it was asked to.
        """
        for number, limit_s in steps:
            if self._popen.poll() is not None:
                break
            self.signal_group(number)
            try:
                self._popen.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                self._log.write(self.name, f"still runs {limit_s:g} s after {number.name}")
        code = self._popen.poll()
        self.signal_group(signal.SIGKILL)  # what the node started and left behind
        self._pump.join(timeout=1.0)
        if code is None or code == -signal.SIGKILL:
            return f"{self.name} did not end when it was asked to, and was killed"
        return "" if code in ENDED_AS_ASKED else f"{self.describe_death()} (while it was stopped)"

    def wait(self, timeout_s: float) -> bool:
        """Return True when the node has ended within ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        while self._popen.poll() is None:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.02)
        return True

    def _copy_output(self) -> None:
        stream = self._popen.stdout
        if stream is None:
            return
        for line in stream:
            line = line.rstrip("\n")
            self.last_lines.append(line)
            self._log.write(self.name, line)
        self.ended_s = time.monotonic()
