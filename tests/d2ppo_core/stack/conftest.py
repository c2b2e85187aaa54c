"""Tiny real programs that stand in for nodes where a test is about processes and not about robots."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = {
    "steady": """
        import signal, sys, time
        signal.signal(signal.SIGINT, lambda *_: (print("bye", flush=True), sys.exit(0)))
        print("steady", *sys.argv[1:], flush=True)
        while True: time.sleep(0.05)
    """,
    "stubborn": """
        import signal, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("stubborn", flush=True)
        while True: time.sleep(0.05)
    """,
    "mortal": """
        import sys, time
        time.sleep(0.3)
        print("the robot server went away", flush=True)
        sys.exit(3)
    """,
    "talker": """
        import time
        print("[FATAL] [1795207122.71] [panda.arm_node]: no robot answers", flush=True)
        print("cleaning up", flush=True)
        raise SystemExit(1)
    """,
    "survivor": """
        print("[ERROR] [1795207122.71] [panda.policy]: bundle refused, the old one goes on", flush=True)
        def answer(): raise ValueError("too many joints")
        answer()
    """,
    "crasher": """
        import os, signal, sys, time
        def abort(*_):
            print("terminate called without an active exception", flush=True)
            os.abort()
        signal.signal(signal.SIGINT, abort)
        print("ready", flush=True)
        while True: time.sleep(0.05)
    """,
    "follower": """
        import sys, time
        time.sleep(0.2)
        sys.exit("the other one is gone")
    """,
    "parent": """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-m", "probes.stubborn"])
        print("child", child.pid, flush=True)
        while True: time.sleep(0.05)
    """,
    "settings": """
        import os, pathlib, sys
        print("domain", os.environ["ROS_DOMAIN_ID"], flush=True)
        print(pathlib.Path(sys.argv[-1]).read_text(), flush=True)
        import time
        while True: time.sleep(0.05)
    """,
}


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that writes a stack file for the programs given by name."""
    package = tmp_path / "path" / "probes"
    package.mkdir(parents=True)
    for name, program in PROGRAMS.items():
        lines = [line[8:] for line in program.splitlines()]
        (package / f"{name}.py").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    def write(*programs: str, required: bool = True) -> str:
        nodes = [
            f"  - {{name: {name}, package: probes, executable: {name}, parameters: {{rate_hz: 5.0}}, "
            f"required: {str(required).lower()}}}"
            for name in programs
        ]
        path = tmp_path / "probe.yaml"
        path.write_text("namespace: panda\nnodes:\n" + "\n".join(nodes) + "\n")
        return str(path)

    return write


def children_of(marker: str) -> list[int]:
    """Return the ids of all live probe programs whose environment names ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                program = b"probes." in (entry / "cmdline").read_bytes()
                if program and state != "Z" and marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except (OSError, IndexError):
                continue
    return found


@pytest.fixture
def leftovers(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Return a function that lists this test's live node processes; whatever is left at the end is killed."""
    marker = f"PYTHONPATH={tmp_path / 'path'}"
    yield lambda: children_of(marker)
    for pid in children_of(marker):
        os.kill(pid, 9)


def until(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Return True as soon as ``condition`` holds, False when it does not within ``limit_s``."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def wait_until() -> Callable[..., bool]:
    return until
