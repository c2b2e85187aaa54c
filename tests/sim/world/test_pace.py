"""The loop's clock: steady deadlines, no burst after a stall."""

import time

from sim.world.pace import Pacer


def test_deadlines_are_a_period_apart():
    pacer = Pacer(0.01)
    first = pacer.next()
    assert abs(pacer.next() - first - 0.01) < 1e-9


def test_stall_is_forgiven_except_for_the_slack():
    pacer = Pacer(0.001, slack_s=0.005)
    pacer.next()
    time.sleep(0.1)
    now = time.perf_counter()
    assert now - 0.006 < pacer.next() < now
    assert sum(pacer.next() < now for _ in range(50)) <= 5
