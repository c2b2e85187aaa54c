"""The arm's state machine with an ideal arm: what stops it, what it says about it, and what goes on afterwards."""

from dataclasses import replace

import numpy as np
import pytest

from d2ppo_core.errors import RobotError
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.arm import ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError
from d2ppo_core.runtime.control.protocols import RobotMode
from d2ppo_core.runtime.control.trajectory import Motion

READY = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
MS = 1_000_000
PERIOD_NS = 8 * MS


@pytest.mark.parametrize("silent", ["policy", "states", "values", "operator", "stop"])
def test_whoever_goes_quiet_the_arm_comes_to_rest_smoothly(make_bench, silent):
    bench = make_bench(deadman=silent == "operator").start()
    bench.controller.hold_deadman(True, bench.now_ns)
    bench.offer((0.0, 0.25, 0.1), dt_ns=200 * MS)
    for _ in range(3):
        bench.run(0.15)
        bench.controller.hold_deadman(True, bench.now_ns)
    assert bench.speed_m_s() > 0.05
    if silent in ("states", "values"):
        real_read, last = bench.arm.read, bench.arm.read()
        bench.arm.read = lambda: last if silent == "states" else replace(last, robot_time_ms=real_read().robot_time_ms)
    if silent == "operator":
        bench.controller.hold_deadman(False, bench.now_ns)
    if silent == "stop":
        bench.controller.stop()
    told = len(bench.arm.told)
    bench.run(0.6)
    twists = np.array([state.twist for state in bench.arm.told[told - 1 :]])
    assert np.linalg.norm(np.diff(twists, axis=0)[:, :3], axis=1).max() < 0.008 * 3.1, "3 m/s² at most"
    assert not twists[-1].any()
    wanted = {
        "policy": "no chunk for 0.6", "states": "the robot's state is 0.1", "values": "the robot's state is 0.1",
        "operator": "the dead-man switch is not held", "stop": "stopped by the operator",
    }  # fmt: skip
    assert wanted[silent] in bench.report.reason
    assert bench.report.mode == (ArmMode.READY if silent == "stop" else ArmMode.HOLDING)


def test_accelerations_are_told_only_on_the_way_to_rest(make_bench):
    bench = make_bench().start()
    bench.offer()
    bench.run(0.3)
    followed = len(bench.arm.told)
    assert bench.arm.told[-1].twist.any() and not any(isinstance(told, Motion) for told in bench.arm.told[-20:])
    bench.controller.stop()
    bench.run(0.3)
    stopping = bench.arm.told[followed:]
    assert all(isinstance(told, Motion) for told in stopping)
    assert max(np.abs(told.acceleration).max() for told in stopping) > 0.1 and not stopping[-1].acceleration.any()


def test_while_the_states_are_lost_no_chunk_is_taken(make_bench):
    bench = make_bench().start()
    bench.offer()
    bench.run(0.1)
    bench.arm.frozen = True
    bench.run(0.2)
    assert bench.report.mode == ArmMode.HOLDING
    with pytest.raises(ChunkRefusedError, match="the robot's own state stopped arriving"):
        bench.offer()
    assert bench.report.refused == {"blind": 1}
    bench.arm.frozen = False
    bench.run(0.05)
    bench.offer()
    assert bench.report.mode == ArmMode.RUNNING


def test_with_a_dead_man_switch_chunks_count_only_while_it_is_held(make_bench):
    bench = make_bench(deadman=True).start()
    begin = bench.position()
    bench.offer()
    bench.run(0.1)
    np.testing.assert_allclose(bench.position(), begin, atol=1e-9)
    assert bench.report.mode == ArmMode.HOLDING and not bench.report.deadman_held
    bench.controller.hold_deadman(True, bench.now_ns)
    bench.offer()
    bench.run(0.16)
    assert bench.report.mode == ArmMode.RUNNING and bench.report.deadman_held
    bench.run(0.1)
    assert bench.report.mode == ArmMode.HOLDING and not bench.report.deadman_held, "no message for more than 0.2 s"
    assert (bench.report.chunks_accepted, bench.report.chunks_refused) == (1, 0)


def test_an_emergency_stop_takes_effect_at_once_and_is_latched(make_bench):
    bench = make_bench().start()
    epoch = bench.report.epoch
    bench.offer()
    bench.run(0.2)
    told = len(bench.arm.told)
    bench.controller.estop()
    assert (bench.report.mode, bench.report.reference) == (ArmMode.ESTOPPED, None)
    assert bench.arm.calls[-1] == "stop" and bench.report.epoch == epoch + 1
    assert bench.gripper.held == 1
    bench.offer()
    bench.run(0.2)
    assert len(bench.arm.told) == told, "nothing is commanded any more"
    for call in (bench.controller.home, bench.controller.start, bench.controller.recover):
        with pytest.raises(RobotError, match="the arm is ESTOPPED"):
            call()
    bench.controller.clear_estop()
    assert bench.report.mode == ArmMode.IDLE
    bench.bring_home()


@pytest.mark.parametrize("mode", [RobotMode.REFLEX, RobotMode.USER_STOPPED, RobotMode.GUIDING])
def test_after_a_stop_of_the_robot_only_the_operator_goes_on_slowly_and_without_old_chunks(make_bench, mode):
    bench = make_bench().start()
    old = bench.chunk((0.0, 0.1, 0.0), dt_ns=500 * MS)
    bench.controller.offer(old, bench.now_ns)
    bench.run(0.1)
    bench.arm.mode, bench.arm.tracking = mode, False
    bench.run(0.5)
    assert bench.report.mode == (ArmMode.REFLEX if mode == RobotMode.REFLEX else ArmMode.USER_STOPPED)
    assert "recover" not in bench.arm.calls, "never by itself"
    if mode == RobotMode.REFLEX:
        bench.controller.recover()
    bench.arm.mode = RobotMode.IDLE
    bench.run(0.1)
    assert bench.report.mode == ArmMode.IDLE
    bench.bring_home()
    bench.controller.start()
    with pytest.raises(ChunkRefusedError, match="chunk of epoch"):
        bench.controller.offer(old, bench.now_ns)
    bench.bring_home()
    assert bench.arm.speeds == [1.0, 0.3, 1.0], "only the first way afterwards is slow"


@pytest.mark.parametrize("stall_ms", [40, 200, 450])
def test_ticks_that_stall_make_no_jump(make_bench, stall_ms):
    bench = make_bench().start()
    bench.offer((0.0, 0.15, 0.05), dt_ns=100 * MS)
    bench.run(0.2)
    before = len(bench.arm.told) - 1
    bench.now_ns += stall_ms * MS
    bench.run(0.3)
    told = bench.arm.told[before:]
    steps = np.diff([state.pose[:3, 3] for state in told], axis=0)
    assert np.linalg.norm(steps[0]) < 0.008 * 0.4
    twists = np.array([state.twist[:3] for state in told])
    assert np.linalg.norm(np.diff(twists, axis=0), axis=1).max() < 0.008 * 8.0, "no more than 8 m/s²"
    np.testing.assert_allclose(steps[1:] / 0.008, twists[2:], atol=0.008 * 8.0 / 2)
    assert bench.report.missed_ticks == stall_ms // 8
    assert stall_ms > 40 or bench.report.safety_interventions == 0


def test_after_a_stall_it_goes_on_from_where_the_driver_brought_the_arm_meanwhile(make_bench):
    bench = make_bench().start()
    bench.offer((0.0, 0.15, 0.05), dt_ns=100 * MS)
    bench.run(0.2)
    rested = RigidState(bench.arm.told[-1].pose.copy(), np.zeros(6))
    rested.pose[1, 3] += 0.01
    bench.arm.commanded = rested
    bench.now_ns += 300 * MS
    bench.run(0.008)
    np.testing.assert_allclose(bench.arm.told[-1].pose, rested.pose, atol=1e-9)
    assert bench.speed_m_s() < 0.05


def test_held_from_outside_it_comes_to_rest_smoothly_and_only_out_of_a_motion(make_bench):
    bench = make_bench().start()
    bench.offer()
    bench.run(0.3)
    bench.controller.hold("the clock stands still; holds")
    assert (bench.controller.report.mode, bench.controller.report.reason) == (
        ArmMode.HOLDING,
        "the clock stands still; holds",
    )
    bench.run(0.3)
    assert bench.speed_m_s() == 0.0
    bench.offer()
    assert bench.controller.report.mode == ArmMode.RUNNING
    bench.controller.estop()
    bench.controller.hold("too late")
    assert bench.controller.report.mode == ArmMode.ESTOPPED


def test_a_robot_that_does_not_answer_is_said_to_be_gone_and_comes_back_only_on_call(make_bench):
    bench = make_bench().start()
    bench.arm.alive = False
    bench.run(0.1)
    assert (bench.report.mode, bench.report.reason) == (ArmMode.DISCONNECTED, "robot stopped answering")
    bench.arm.alive = True
    asked = bench.arm.time_ms
    bench.run(0.1)
    assert bench.report.mode == ArmMode.DISCONNECTED
    assert bench.arm.time_ms == asked, "each question may block for a second"
    bench.controller.recover()
    assert bench.report.mode == ArmMode.IDLE and bench.arm.calls[-2:] == ["close", "connect"]


def test_a_lost_robot_in_reflex_stays_disconnected_until_the_operator_reconnects(make_bench):
    bench = make_bench().start()
    bench.arm.alive = False
    bench.controller.estop()
    bench.run(0.1)
    bench.arm.alive, bench.arm.mode = True, RobotMode.REFLEX
    bench.controller.clear_estop()
    bench.run(0.1)
    assert bench.report.mode == ArmMode.DISCONNECTED
    bench.controller.recover()
    bench.run(0.1)
    assert bench.report.mode == ArmMode.REFLEX


def test_periods_without_a_tick_are_counted_and_late_ticks_are_not(make_bench):
    bench = make_bench().start()
    start_ns, before = bench.now_ns + 10 * PERIOD_NS, None
    for due in (0, 1, 2.4, 3, 4.9, 5, 8, 9, 12.5, 13):
        bench.controller.tick(start_ns + round(due * PERIOD_NS))
        before = before or (bench.report.ticks, bench.report.missed_ticks)
    ticks, missed = bench.report.ticks - before[0], bench.report.missed_ticks - before[1]
    assert (ticks, missed) == (9, 2 + 2), "periods 6, 7 and 10, 11 had no tick"
