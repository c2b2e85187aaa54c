"""Durations inside a callback are real ones, on the stack's clock, whether it runs meanwhile or stands still."""

import pytest

from d2ppo_core.runtime.inference.callback_clock import CallbackClock

MS = 1_000_000


class Clocks:
    """A stack's clock that others move, and a steady one."""

    def __init__(self) -> None:
        self.stack_ns, self.steady_ns = 5_000 * MS, 77 * MS
        self.callback = CallbackClock(lambda: self.stack_ns, lambda: self.steady_ns)

    def between_callbacks(self, steady_ms: int, pace: float) -> None:
        self.steady_ns += steady_ms * MS
        self.stack_ns += round(steady_ms * MS * pace)


@pytest.mark.parametrize("pace", [0.5, 1.0, 4.0])
def test_a_clock_that_stands_still_in_a_callback_goes_on_at_the_pace_that_it_had(pace: float) -> None:
    clocks = Clocks()
    for _ in range(40):
        clocks.callback.begin()
        clocks.between_callbacks(50, pace)
    began_ns = clocks.callback.begin()
    assert began_ns == clocks.stack_ns
    clocks.steady_ns += 20 * MS
    assert clocks.callback.now_ns() - began_ns == pytest.approx(20 * MS * pace, abs=2)


def test_a_change_of_pace_is_known_after_a_second() -> None:
    clocks = Clocks()
    for pace in (1.0, 0.25):
        for _ in range(30):
            clocks.callback.begin()
            clocks.between_callbacks(50, pace)
    clocks.callback.begin()
    assert clocks.callback.rate == pytest.approx(0.25, abs=0.02)


def test_a_clock_that_runs_by_itself_is_read_as_it_is() -> None:
    clocks = Clocks()
    clocks.callback.begin()
    clocks.stack_ns += 7 * MS
    clocks.steady_ns += 9 * MS
    assert clocks.callback.now_ns() == clocks.stack_ns


def test_time_begins_no_earlier_than_the_stamp_of_what_arrived_and_never_goes_back() -> None:
    clocks = Clocks()
    stamp_ns = clocks.stack_ns + 3 * MS
    assert clocks.callback.begin(stamp_ns) == stamp_ns
    clocks.steady_ns += 1 * MS
    first_ns = clocks.callback.now_ns()
    assert first_ns == stamp_ns + 1 * MS
    clocks.stack_ns += 1 * MS
    assert clocks.callback.now_ns() >= stamp_ns


def test_a_world_that_begins_anew_leaves_no_pace_of_the_old_one() -> None:
    clocks = Clocks()
    clocks.callback.begin()
    clocks.between_callbacks(500, 3.0)
    clocks.callback.begin()
    clocks.stack_ns = 0
    clocks.callback.begin()
    assert clocks.callback.rate == 1.0
