"""What notices silence: lost states, repeated ones, a switch let go, missing ticks."""

import numpy as np

from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.protocols import ArmReading, RobotMode
from d2ppo_core.runtime.control.watchdogs import DeadmanSwitch, Freshness, TickCount

MS = 1_000_000
STILL, MOVING = np.zeros(6), np.array([0.1, 0, 0, 0, 0, 0])


def reading(time_ms: int, q: float) -> ArmReading:
    return ArmReading(
        robot_time_ms=time_ms,
        mode=RobotMode.MOVE,
        q_rad=np.full(7, q),
        dq_rad_s=np.zeros(7),
        tau_ext_nm=np.zeros(7),
        measured=RigidState(np.eye(4), STILL),
        wrench=np.zeros(6),
        error="",
    )


def lost_after(readings, twist) -> float | None:
    watch = Freshness(0.1)
    watch.begin(0)
    for tick, state in enumerate(readings):
        watch.see(state, twist, tick * 8 * MS)
        lost_s = watch.lost_s(tick * 8 * MS)
        if lost_s is not None:
            return lost_s
    return None


def test_a_robot_whose_clock_stands_is_lost():
    assert 0.1 < lost_after([reading(7, i) for i in range(50)], STILL) < 0.12


def test_a_robot_that_repeats_itself_is_lost_only_while_it_should_move():
    frozen = [reading(8 * i, 0.5) for i in range(50)]
    assert 0.1 < lost_after(frozen, MOVING) < 0.12
    assert lost_after(frozen, STILL) is None
    assert lost_after([reading(8 * i, 0.5 + 1e-9 * i) for i in range(50)], MOVING) is None


def test_fresh_states_end_a_loss():
    watch = Freshness(0.1)
    watch.begin(0)
    assert watch.lost_s(150 * MS) is not None
    watch.see(reading(1, 0.0), STILL, 150 * MS)
    assert watch.lost_s(160 * MS) is None


def test_a_robot_that_repeats_itself_stays_lost_at_rest_until_its_joints_change():
    watch = Freshness(0.1)
    watch.begin(0)
    for tick in range(50):
        watch.see(reading(8 * tick, 0.5), MOVING if tick < 20 else STILL, tick * 8 * MS)
    assert watch.lost_s(400 * MS) is not None, "that it came to rest shows no fresh state"
    watch.see(reading(500, 0.51), STILL, 400 * MS)
    assert watch.lost_s(400 * MS) is None


def test_ticks_that_stall_at_rest_make_no_repetition():
    watch = Freshness(0.1)
    watch.begin(0)
    watch.see(reading(1, 0.5), STILL, 0)
    for late in range(3):
        watch.see(reading(300 + late, 0.5), MOVING, (300 + 8 * late) * MS)
    assert watch.lost_s(316 * MS) is None


def test_a_slow_world_whose_states_come_late_is_lost_meanwhile_but_not_for_ever():
    watch = Freshness(0.1)
    watch.begin(0)
    for tick in range(20):
        watch.see(reading(1, 0.5), MOVING, tick * 8 * MS)
    assert watch.lost_s(152 * MS) is not None, "no new state for so long"
    watch.see(reading(2, 0.5), STILL, 160 * MS)
    assert watch.lost_s(160 * MS) is None, "the same state again and again was no repetition of the robot's"


def test_a_dead_man_switch_counts_for_a_while_and_a_release_at_once():
    switch = DeadmanSwitch(0.2)
    assert not switch.held(0), "also when a simulated clock begins at 0"
    switch.hear(True, 1000 * MS)
    assert switch.held(1200 * MS) and not switch.held(1201 * MS)
    switch.hear(True, 1300 * MS)
    switch.hear(False, 1310 * MS)
    assert not switch.held(1310 * MS)


def test_missing_ticks_are_counted_and_a_pause_is_not():
    count = TickCount(125.0)
    for due in (0, 1, 2.4, 3, 6):
        count.count(round(due * 8 * MS))
    assert (count.ticks, count.missed) == (5, 2)
    count.count(0, expected=False)
    count.count(9_000 * MS)
    count.count(9_008 * MS)
    assert (count.ticks, count.missed) == (7, 2)
