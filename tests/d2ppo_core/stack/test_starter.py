import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.environment import stack_environment
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.starter import STARTER, StarterWatch, birth_of

CHILD = """
import os, sys, time
from d2ppo_core.stack.starter import StarterWatch
StarterWatch(lambda pid: print("alone", pid, flush=True), grace_s=0.5)
print("up", os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
from d2ppo_core.stack.environment import stack_environment
from d2ppo_core.stack.loader import load_stack
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=stack_environment(load_stack("sim")), start_new_session=True)
sys.stdin.read()
"""


def test_a_stack_names_its_starter_whatever_the_caller_had_set() -> None:
    environment = stack_environment(load_stack("sim"), base={STARTER: "1"})
    assert environment[STARTER] == str(os.getpid())


def test_a_process_notices_that_its_starter_was_killed_and_is_killed_itself_when_it_stays() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None and starter.stdin is not None
    word, pid = starter.stdout.readline().split()
    assert word == "up"
    starter.kill()  # not reaped yet: a zombie has ended too
    assert starter.stdout.readline() == f"alone {starter.pid}\n"
    starter.wait()
    deadline_s = time.monotonic() + 10.0
    while birth_of(int(pid)) is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    starter.stdin.close()
    starter.stdout.close()


def test_while_the_starter_lives_and_without_one_nothing_happens() -> None:
    gone = threading.Event()
    watches = [StarterWatch(lambda _: gone.set(), {STARTER: str(os.getpid())}), StarterWatch(lambda _: gone.set(), {})]
    assert not gone.wait(0.6)
    for watch in watches:
        watch.close()


def test_a_starter_that_is_gone_already_counts() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    gone = threading.Event()
    watch = StarterWatch(lambda _: gone.set(), {STARTER: str(done.pid)})
    assert gone.wait(5.0)
    watch.close()


def test_a_starter_that_is_no_process_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="D2PPO_STARTER_PID must be a process id, got 'launch'"):
        StarterWatch(lambda _: None, {STARTER: "launch"})


def test_a_process_that_was_killed_has_no_birth() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert birth_of(process.pid) is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert birth_of(process.pid) is None
