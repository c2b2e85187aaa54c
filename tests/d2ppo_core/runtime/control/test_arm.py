"""The arm's state machine with an ideal arm: what moves it, and what it says about it."""

from dataclasses import replace

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError, RobotError
from d2ppo_core.runtime.control.arm import AT_HOME, ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError
from d2ppo_core.runtime.safety.cell import load_cell

READY = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
MS = 1_000_000
PERIOD_NS = 8 * MS
CELL = load_cell("sim_lift")


def test_home_start_follow_and_hold(make_bench):
    bench = make_bench().start()
    begin = bench.position()
    bench.offer((0.05, 0.02, 0.03))
    bench.run(0.5)
    assert bench.report.mode == ArmMode.RUNNING
    assert bench.report.chunk_first_command_ns - bench.report.chunk_stamp_ns == PERIOD_NS
    bench.run(0.2)
    assert bench.report.mode == ArmMode.HOLDING and "no chunk for 0.6" in bench.report.reason
    np.testing.assert_allclose(bench.position() - begin, (0.05, 0.02, 0.03), atol=1e-6)
    assert bench.gripper.asked[0] == 0.05 and bench.gripper.asked[-1] == 0.02
    bench.offer()
    assert (bench.report.mode, bench.report.reason) == (ArmMode.RUNNING, "chunks are back")


def test_the_speed_scale_slows_chunks_and_homing_and_stops_at_zero(make_bench):
    ways = []
    for scale in (1.0, 0.5):
        bench = make_bench(speed_scale=scale, chunk_timeout_s=2.0).start()
        begin = bench.position()
        bench.offer((0.0, 0.1, 0.0))
        bench.run(0.4 / scale)
        ways.append(np.linalg.norm(bench.arm.told[-1].pose[:3, 3] - begin))
        assert bench.arm.speeds == [scale]
    assert ways[1] == pytest.approx(ways[0], rel=1e-3), "the same way in twice the time"
    assert ways[0] == pytest.approx(0.0896, rel=0.01)
    bench.controller.set_speed(0.0, bench.now_ns)
    bench.offer((0.0, 0.1, 0.0), dt_ns=100 * MS)
    bench.run(0.5)
    halted = bench.position()
    bench.offer((0.0, 0.1, 0.0))
    bench.run(0.3)
    np.testing.assert_allclose(bench.position(), halted, atol=2e-3)
    assert bench.report.mode == ArmMode.RUNNING and bench.report.speed_scale == 0.0
    with pytest.raises(RobotError, match="the speed scale is 0"):
        bench.controller.home()
    with pytest.raises(ConfigError, match=r"speed_scale must lie in \[0, 1\]"):
        bench.controller.set_speed(1.5, bench.now_ns)


def test_it_goes_to_named_poses_with_the_gripper_as_it_is(make_bench):
    bench = make_bench()
    bench.controller.go_to("ready")
    assert bench.report.reason == "on the way to ready"
    bench.run(0.2)
    assert (bench.report.mode, bench.report.reason) == (ArmMode.READY, "at ready")
    np.testing.assert_allclose(bench.arm.q_rad, READY, atol=1e-9)
    assert bench.gripper.asked == []
    with pytest.raises(RobotError, match="no pose named 'shelf'; known: home, ready"):
        bench.controller.go_to("shelf")
    bench.controller.go_to("home")
    assert bench.report.reference is None, "what was commanded before is no reference on the way"
    bench.run(0.2)
    assert bench.report.reason == AT_HOME


def test_targets_outside_the_workspace_are_clipped_and_counted(make_bench):
    bench = make_bench().start()
    bench.offer((0.0, 0.0, -0.6), dt_ns=200 * MS)
    bench.run(0.59)
    bench.offer((0.0, 0.0, -0.2), dt_ns=100 * MS)
    bench.run(0.5)
    assert bench.report.mode == ArmMode.RUNNING
    assert bench.report.reference.pose[2, 3] >= CELL.workspace_min_m[2] - 1e-6
    assert sum(bench.report.safety_counts.values()) == bench.report.safety_interventions > 0
    assert set(bench.report.safety_counts) & {"workspace", "table"}


def test_bad_chunks_are_counted_by_reason_and_move_nothing(make_bench):
    bench = make_bench().start()
    begin = bench.position()
    for changes in (
        {"epoch": 99},
        {"stamp_ns": bench.now_ns + 1000 * MS},
        {"stamp_ns": bench.now_ns - 9000 * MS},
        {"gripper_width_m": np.full(11, np.nan)},
        {"quats_xyzw": np.ones((11, 4))},
        {"twists": np.zeros((11, 5))},
        {"dt_ns": 0},
    ):
        with pytest.raises(ChunkRefusedError):
            bench.offer(**changes)
    bench.controller.refuse(ChunkRefusedError("targets must be in frame …", "frame"))
    bench.run(0.1)
    np.testing.assert_allclose(bench.position(), begin, atol=1e-9)
    reasons = ("epoch", "future", "expired", "not_finite", "quaternion", "malformed", "period", "frame")
    assert bench.report.refused == dict.fromkeys(reasons, 1)
    assert (bench.report.chunks_accepted, bench.report.chunks_refused) == (0, 8)


def test_before_start_chunks_are_left_alone_without_a_word(make_bench):
    bench = make_bench()
    bench.bring_home()
    bench.offer()
    bench.run(0.1)
    assert (bench.report.mode, bench.report.chunks_accepted, bench.report.chunks_refused) == (ArmMode.READY, 0, 0)


def test_a_configuration_that_cannot_be_is_refused(make_bench):
    good = make_bench().config
    with pytest.raises(ConfigError, match="home_q_rad needs 7 joints, got 6"):
        replace(good, home_q_rad=good.home_q_rad[:6])
    with pytest.raises(ConfigError, match=r"home_gripper_width_m must lie in \[0, 0.08\]"):
        replace(good, home_gripper_width_m=0.2)
    with pytest.raises(ConfigError, match="stall_ticks must be at least 1"):
        replace(good, stall_ticks=0)
    with pytest.raises(ConfigError, match=r"recovery_dynamics must lie in \(0, 1\]"):
        replace(good, recovery_dynamics=0.0)
