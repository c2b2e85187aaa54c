"""A hand takes the arm from a policy and gives it back: smoothly, and nothing from before moves it afterwards."""

import numpy as np
import pytest

from d2ppo_core.runtime.control.arm import ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError

MS = 1_000_000
TICK_S = 0.008
BOUND_M_S2 = 4.0 + 1.5
"""What a seam may add (BlendLimits) to what the hand itself accelerates (MappingConfig)."""


def hold(bench, seconds: float, offset_m=(0.0, -0.02, 0.0)) -> None:
    """Send the hand's chunks every 24 ms."""
    for _ in range(round(seconds / 0.024)):
        bench.controller.offer(bench.chunk(offset_m, bundle_hash="hand", source="teleop"), bench.now_ns, by_hand=True)
        bench.run(0.024)


def largest_step_m_s2(bench, first: int) -> float:
    twists = np.array([told.twist[:3] for told in bench.arm.told[first:]])
    return float(np.linalg.norm(np.diff(twists, axis=0), axis=1).max() / TICK_S)


def running(make_bench):
    """A bench whose policy is in the middle of a motion."""
    bench = make_bench().start()
    bench.offer((0.0, 0.04, 0.0), dt_ns=100 * MS)
    bench.run(0.3)
    return bench


def test_a_hand_takes_over_at_once_without_a_step_and_the_policy_is_left_alone(make_bench):
    bench = running(make_bench)
    first, accepted = len(bench.arm.told) - 1, bench.report.chunks_accepted
    hold(bench, 0.048)
    assert bench.report.by_hand and bench.report.mode == ArmMode.RUNNING
    assert bench.report.reason == "a hand has the arm"
    bench.offer((0.0, 0.05, 0.0))
    assert bench.report.chunks_accepted == accepted + 2 and bench.report.bundle_hash == "hand"
    assert bench.report.chunks_refused == 0, "a policy may run behind a hand"
    bench.run(0.1)
    assert largest_step_m_s2(bench, first) <= BOUND_M_S2


def test_letting_go_comes_to_rest_and_what_was_seen_before_moves_nothing(make_bench):
    bench = running(make_bench)
    hold(bench, 0.3)
    epoch, before = bench.report.epoch, bench.chunk((0.0, 0.05, 0.0))
    first = len(bench.arm.told) - 1
    bench.controller.let_go(bench.now_ns)
    assert (bench.report.mode, bench.report.by_hand, bench.report.epoch) == (ArmMode.HOLDING, False, epoch + 1)
    bench.run(0.13)
    assert bench.speed_m_s() < 1e-6
    with pytest.raises(ChunkRefusedError, match="epoch"):
        bench.controller.offer(before, bench.now_ns)
    rest = bench.position()
    late = bench.chunk((0.0, 0.05, 0.0), stamp_ns=bench.now_ns - 140 * MS)  # of this epoch, by a clock that lies
    with pytest.raises(ChunkRefusedError, match="before the hand gave the arm back"):
        bench.controller.offer(late, bench.now_ns)
    bench.run(0.1)
    np.testing.assert_allclose(bench.position(), rest, atol=1e-6)
    bench.offer((0.0, 0.04, 0.0), dt_ns=100 * MS)
    bench.run(0.3)
    assert (bench.report.mode, bench.report.by_hand) == (ArmMode.RUNNING, False)
    assert largest_step_m_s2(bench, first) <= BOUND_M_S2, "the arm never snaps"


def test_a_hand_that_says_nothing_has_let_go(make_bench):
    bench = running(make_bench)
    hold(bench, 0.1)
    epoch = bench.report.epoch
    bench.run(0.2)
    assert bench.report.mode == ArmMode.HOLDING and "no chunk of the hand for 0.1" in bench.report.reason
    assert not bench.report.by_hand and bench.report.epoch == epoch + 1
    bench.run(0.15)
    assert bench.speed_m_s() < 1e-6


def test_a_hand_needs_a_start_as_a_policy_does_and_no_policy_at_all(make_bench):
    bench = make_bench()
    bench.start()
    bench.controller.stop()
    hold(bench, 0.048)
    assert (bench.report.mode, bench.report.by_hand) == (ArmMode.READY, False)
    bench.controller.start()
    hold(bench, 0.048)
    assert bench.report.by_hand


@pytest.mark.parametrize("call", ["stop", "estop", "home", "reflex"])
def test_whatever_ends_running_takes_the_arm_from_the_hand(make_bench, call):
    bench = running(make_bench)
    hold(bench, 0.1)
    stale = bench.chunk(bundle_hash="hand", source="teleop")
    if call == "reflex":
        bench.arm.mode = type(bench.arm.mode).REFLEX
        bench.run(TICK_S)
    else:
        getattr(bench.controller, call)()
    assert not bench.report.by_hand and bench.report.epoch > stale.epoch


def test_a_hand_is_its_own_dead_man_switch_where_the_policy_needs_another_one(make_bench):
    bench = make_bench(deadman=True).start()
    hold(bench, 0.1)
    assert bench.report.mode == ArmMode.RUNNING and bench.report.by_hand and not bench.report.deadman_held


def test_of_two_hands_the_first_is_followed(make_bench):
    bench = running(make_bench)
    hold(bench, 0.048)
    with pytest.raises(ChunkRefusedError, match="still sends"):
        bench.controller.offer(bench.chunk(bundle_hash="hand", source="other"), bench.now_ns, by_hand=True)
    assert bench.report.refused == {"rival": 1}


def test_a_plan_that_was_admitted_before_the_takeover_is_not_followed_after_it(make_bench):
    bench = running(make_bench)
    pending = bench.chunk((0.0, 0.05, 0.0))
    assert bench.controller.admit(pending, bench.now_ns)
    hold(bench, 0.048)
    bench.controller.follow(pending, bench.now_ns)
    assert bench.report.by_hand and bench.report.bundle_hash == "hand"
