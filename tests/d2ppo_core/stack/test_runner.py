import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from d2ppo_core.errors import StackError
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack

Probes = Callable[..., str]
Leftovers = Callable[[], list[int]]
Until = Callable[..., bool]


def test_a_stack_starts_its_nodes_with_names_namespace_and_parameters_and_stops_them_cleanly(
    probes: Probes, leftovers: Leftovers, wait_until: Until, tmp_path: Path
) -> None:
    log, console = tmp_path / "logs" / "stack.log", io.StringIO()
    with Stack(load_stack(probes("steady", "settings")), domain_id=42, log_file=log, console=console) as stack:
        assert wait_until(lambda: "[steady] steady" in log.read_text() and "rate_hz: 5.0" in log.read_text())
        stack.check()
        assert len(leftovers()) == 2
    assert leftovers() == []
    text = log.read_text()
    assert "-r __node:=steady -r __ns:=/panda --params-file" in text
    assert "[settings] domain 42" in text
    assert "[steady] bye" in text
    assert text == console.getvalue()


def test_nodes_stop_in_the_opposite_order_of_starting(probes: Probes, wait_until: Until) -> None:
    console = io.StringIO()
    with Stack(load_stack(probes("steady", "settings")), domain_id=1, console=console):
        assert wait_until(lambda: "domain" in console.getvalue())
    stopped = [line.split()[-1] for line in console.getvalue().splitlines() if "] stopped" in line]
    assert stopped == ["settings", "steady"]


def test_a_required_node_that_dies_is_named_with_its_exit_code_and_last_words(
    probes: Probes, leftovers: Leftovers
) -> None:
    with (
        pytest.raises(StackError, match="^mortal ended with exit code 3: the robot server went away$"),
        Stack(load_stack(probes("steady", "mortal"))) as stack,
    ):
        stack.wait(timeout_s=20.0)
    assert leftovers() == []


def test_the_first_node_to_die_is_blamed_with_its_error_and_without_the_prefix_of_the_ros_log(
    probes: Probes, wait_until: Until
) -> None:
    with Stack(load_stack(probes("follower", "talker"))) as stack:
        assert wait_until(lambda: all(process.exit_code is not None for process in stack.processes.values()))
        with pytest.raises(StackError, match="^talker ended with exit code 1: no robot answers$"):
            stack.check()


def test_the_error_that_ended_a_node_is_named_and_not_an_older_one_that_it_survived(probes: Probes) -> None:
    with (
        pytest.raises(StackError, match="^survivor ended with exit code 1: ValueError: too many joints$"),
        Stack(load_stack(probes("survivor"))) as stack,
    ):
        stack.wait(timeout_s=20.0)


def test_a_node_that_breaks_while_it_is_stopped_is_a_fault_and_one_that_ends_as_asked_is_none(
    probes: Probes, wait_until: Until
) -> None:
    with Stack(load_stack(probes("steady", "parent", "crasher"))) as stack:
        assert wait_until(lambda: all(process.last_lines for process in stack.processes.values()))
    assert stack.faults == [
        "crasher was killed by SIGABRT: terminate called without an active exception (while it was stopped)"
    ]


def test_a_node_killed_from_outside_is_reported_with_the_signal(probes: Probes, wait_until: Until) -> None:
    with Stack(load_stack(probes("steady"))) as stack:
        process = stack.processes["steady"]
        assert wait_until(lambda: bool(process.last_lines))
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(StackError, match="^steady was killed by SIGKILL: steady"):
            stack.wait(timeout_s=20.0)


def test_a_node_that_is_not_required_may_die_and_is_reported_once(probes: Probes, wait_until: Until) -> None:
    console = io.StringIO()
    with Stack(load_stack(probes("mortal", required=False)), console=console) as stack:
        assert wait_until(lambda: stack.processes["mortal"].exit_code is not None)
        stack.check()
        stack.check()
    assert console.getvalue().count("the stack goes on without it") == 1


def test_a_node_can_be_stopped_and_started_again(probes: Probes, wait_until: Until) -> None:
    with Stack(load_stack(probes("steady"))) as stack:
        first = stack.processes["steady"]
        assert wait_until(lambda: bool(first.last_lines))
        with pytest.raises(StackError, match="steady runs already"):
            stack.start_node("steady")
        stack.stop_node("steady")
        assert first.exit_code == 0
        second = stack.start_node("steady")
        assert second.pid != first.pid
        assert wait_until(lambda: bool(second.last_lines))
        stack.check()


def test_a_node_that_ignores_polite_signals_is_killed_together_with_its_children(
    probes: Probes, leftovers: Leftovers, wait_until: Until
) -> None:
    with Stack(load_stack(probes("parent"))) as stack:
        process = stack.processes["parent"]
        assert wait_until(lambda: "stubborn" in process.last_lines)
        assert len(leftovers()) == 2
    assert leftovers() == []


def test_stopping_a_stubborn_node_takes_no_longer_than_its_time_limits(probes: Probes, wait_until: Until) -> None:
    with Stack(load_stack(probes("stubborn"))) as stack:
        process = stack.processes["stubborn"]
        assert wait_until(lambda: "stubborn" in process.last_lines)
        start_s = time.monotonic()
        process.stop(((signal.SIGINT, 0.2), (signal.SIGTERM, 0.2), (signal.SIGKILL, 2.0)))
        assert 0.4 <= time.monotonic() - start_s < 2.0
        assert process.exit_code == -signal.SIGKILL


def test_a_program_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("namespace: panda\nnodes: [{name: a, package: no_such_package, executable: node}]\n")
    with (
        Stack(load_stack(str(path))) as stack,
        pytest.raises(StackError, match="a ended with exit code 1: .*No module"),
    ):
        stack.wait(timeout_s=20.0)


def test_two_stacks_run_beside_each_other(probes: Probes, leftovers: Leftovers) -> None:
    description = load_stack(probes("steady"))
    with Stack(description, domain_id=1) as one, Stack(description, domain_id=2) as two:
        one.check()
        two.check()
        assert len(leftovers()) == 2
    with pytest.raises(StackError, match="does not run"):
        one.check()
