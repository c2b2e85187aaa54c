"""Which command is the answer that the world waits for."""

import pytest

from sim.fci.lockstep import SILENT_STATES, START_PATIENCE_S, Lockstep


@pytest.fixture
def steps():
    steps = Lockstep(1.0, enabled=True)
    steps.message_id = 100
    steps.begin(asynchronous=False)
    return steps


def send(steps, count=1):
    steps.message_id += count


def test_only_the_answer_to_the_newest_state_counts(steps):
    send(steps, 3)
    assert not steps.is_answer(101)
    assert steps.streaming, "the client has begun, whatever it answered"
    assert not steps.is_answer(102)
    assert steps.is_answer(103)
    assert not steps.is_answer(103), "once is enough"


def test_commands_from_before_the_motion_are_none_of_its(steps):
    send(steps)
    assert not steps.is_answer(99) and not steps.streaming


def test_nobody_answers_a_state_that_was_not_sent_yet(steps):
    send(steps, 3)
    assert not steps.is_answer(2**63) and not steps.streaming
    assert steps.is_answer(103), "the right answer still counts"
    steps.begin(asynchronous=True)
    assert not steps.is_answer(104) and steps.is_answer(103)


def test_the_world_waits_for_the_first_command_only_when_one_may_come(steps):
    for _ in range(SILENT_STATES):
        assert steps.patience_s() == 0.0
        send(steps)
    assert steps.patience_s() == START_PATIENCE_S
    steps.is_answer(steps.message_id)
    assert steps.patience_s() == 1.0


def test_patience_is_spent_once_per_silence(steps):
    send(steps)
    steps.is_answer(101)
    steps.count(answered=False)
    assert steps.patience_s() == 0.0
    steps.count(answered=True)
    assert steps.patience_s() == 1.0


def test_without_lock_step_anything_newer_than_the_last_is_a_command():
    steps = Lockstep(1.0, enabled=False)
    steps.begin(asynchronous=False)
    send(steps, 5)
    assert steps.is_answer(3) and not steps.is_answer(2) and steps.is_answer(5)
    assert steps.patience_s() == 0.0


def test_asynchronous_set_points_are_never_waited_for(steps):
    steps.begin(asynchronous=True)
    send(steps, 10)
    assert steps.is_answer(0) and steps.patience_s() == 0.0 and not steps.streaming


def test_a_clock_that_jumps_back_still_gets_answers(steps):
    send(steps, 50)
    assert steps.is_answer(150)
    steps.jump(-120)
    assert steps.message_id == 30
    send(steps)
    assert steps.is_answer(31)
    steps.jump(-1000)
    assert steps.message_id == 0
