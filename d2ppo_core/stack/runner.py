"""Starts every node of a stack as a process, notices when one dies, and leaves nothing running."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from d2ppo_core.environment import check_renderer
from d2ppo_core.errors import ConfigError, StackError
from d2ppo_core.stack import reaper
from d2ppo_core.stack.description import StackDescription
from d2ppo_core.stack.environment import stack_environment
from d2ppo_core.stack.log import StackLog
from d2ppo_core.stack.process import NodeProcess, node_command
from d2ppo_core.stack.ros_packages import NODES, missing_ros

ORPHAN_GRACE_S = 4.0


class Stack:
    """A running stack, as a context manager; several run beside each other when their domains and addresses differ.

        with Stack(load_stack("sim", {"robot_address": "127.0.0.5"}), domain_id=7) as stack:
            stack.check()

    Args:
        description: the resolved stack (see ``load_stack``).
        domain_id: ROS_DOMAIN_ID of the nodes; None keeps this process's.
        log_file: takes the lines of all nodes; None writes none.
        console: stream that repeats the log, e.g. ``sys.stderr``; None stays silent.
        environment: variables to start from instead of this process's.
    """

    def __init__(
        self,
        description: StackDescription,
        *,
        domain_id: int | None = None,
        log_file: Path | None = None,
        console: TextIO | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Check the arguments; nothing is started yet."""
        self.description = description
        self.environment = stack_environment(description, domain_id=domain_id, base=environment)
        """Environment of all nodes; a process that wants to talk to them sets the ROS variables of it."""
        self.processes: dict[str, NodeProcess] = {}
        self.faults: list[str] = []
        """What was wrong about the ends of nodes that were asked to stop, a line each."""
        self._log_file = log_file
        self._console = console
        self._log = StackLog()
        self._reaper: subprocess.Popen[str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._reported: set[str] = set()

    def __enter__(self) -> Self:
        """Start all nodes."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop all nodes."""
        self.stop()

    def start(self) -> None:
        """Start the nodes in the order of the list.

        Raises:
            ConfigError: the ROS packages of its nodes are not built here.
            WorldError: its world cannot draw in this environment.
            StackError: the stack runs already, or a node cannot be started; then nothing is left running.
        """
        if self._scratch is not None:
            raise StackError(f"stack {self.description.name!r} runs already")
        if any(node.package == NODES for node in self.description.nodes) and (lack := missing_ros()):
            raise ConfigError(f"stack {self.description.name}: {lack}")
        if "MUJOCO_GL" in self.description.environment:  # its world draws
            check_renderer(self.environment)
        self._scratch = tempfile.TemporaryDirectory(prefix="d2ppo-stack-")
        self._log = StackLog(self._log_file, self._console)
        try:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__, str(ORPHAN_GRACE_S)],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            for node in self.description.nodes:
                self.start_node(node.label)
        except BaseException:
            self.stop()
            raise

    def start_node(self, name: str) -> NodeProcess:
        """Start one node of the list, e.g. again after it ended; ``name`` is its label.

        Raises:
            StackError: no such node, it runs already, or it cannot be started.
        """
        node = next((node for node in self.description.nodes if node.label == name), None)
        if node is None or self._scratch is None:
            raise StackError(f"{name!r} is not a node of the running stack {self.description.name!r}")
        if name in self.processes and self.processes[name].exit_code is None:
            raise StackError(f"{name} runs already")
        params_file = Path(self._scratch.name) / f"{name.replace('/', '.')}.yaml"
        command = node_command(node, self.description.namespace, params_file)
        process = NodeProcess(name, command, self.environment, self._log)
        self.processes[name] = process
        self._reported.discard(name)
        self._tell_reaper(f"{process.pid}")
        self._log.write("stack", f"started {name} (pid {process.pid})")
        return process

    def stop_node(self, name: str) -> None:
        """Stop one node and what it started; a node that does not run stays as it is."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        fault = process.stop()
        self._tell_reaper(f"-{process.pid}")
        self._log.write("stack", f"stopped {name}")
        if fault and name not in self._reported:
            self.faults.append(fault)
            self._log.write("stack", fault)

    def check(self) -> None:
        """Return while all required nodes run.

        Raises:
            StackError: one died; the line says which, how, and what it printed last.
        """
        if self._scratch is None:
            raise StackError(f"stack {self.description.name!r} does not run")
        dead = [process for process in self.processes.values() if process.exit_code is not None]
        required = {node.label for node in self.description.nodes if node.required}
        for process in sorted(dead, key=lambda process: process.ended_s or time.monotonic()):
            if process.name in required:  # the first one to die is the cause, the others follow
                raise StackError(process.describe_death())
            if process.name not in self._reported:
                self._reported.add(process.name)
                self._log.write("stack", f"{process.describe_death()}; the stack goes on without it")

    def wait(self, timeout_s: float) -> None:
        """Watch the nodes for ``timeout_s`` seconds.

        Raises:
            StackError: a required node died meanwhile.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.check()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(0.1, left_s))

    def stop(self) -> None:
        """Stop all nodes, the last one started first; calling it again does nothing."""
        for name in reversed(list(self.processes)):
            self.stop_node(name)
        if self._reaper is not None:
            if self._reaper.stdin is not None:
                self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
        self._log.close()

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            try:
                self._reaper.stdin.write(line + "\n")
                self._reaper.stdin.flush()
            except BrokenPipeError:  # killed from outside; the kernel still ends the nodes with this process
                self._reaper = None
