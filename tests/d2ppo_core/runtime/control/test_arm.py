"""The arm's state machine with an ideal arm: what moves it, what stops it, and what it says about it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError, RobotError
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.arm import AT_HOME, ArmConfig, ArmController, ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.protocols import ArmReading, GripperReading, RobotMode
from d2ppo_core.runtime.control.trajectory import Motion
from d2ppo_core.runtime.safety.cell import load_cell
from d2ppo_core.runtime.safety.kinematics import posture, solve_ik

HOME = (0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398)
READY = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
MS = 1_000_000
PERIOD_NS = 8 * MS
CELL = load_cell("sim_lift")
CONFIG = ArmConfig(
    reference_hz=125.0,
    chunk_timeout_s=0.6,
    home_q_rad=HOME,
    home_gripper_width_m=0.05,
    poses={"ready": READY},
    cell=CELL,
)


class IdealArm:
    """Is where its reference is, at once; a joint motion takes ten looks."""

    def __init__(self) -> None:
        self.q_rad, self.twist = np.array(HOME), np.zeros(6)
        self.mode, self.time_ms, self.alive, self.frozen = RobotMode.IDLE, 0, True, False
        self.tracking, self.left, self.commanded = False, 0, None
        self.told: list[RigidState] = []
        self.calls: list[str] = []
        self.speeds: list[float] = []

    def connect(self) -> None:
        self.calls.append("connect")

    def read(self) -> ArmReading:
        if not self.alive:
            raise RobotError("robot stopped answering")
        self.time_ms += 0 if self.frozen else 8
        pose = posture(self.q_rad, CELL.tool.T_flange_ee).pose
        return ArmReading(
            robot_time_ms=self.time_ms,
            mode=self.mode,
            q_rad=self.q_rad.copy(),
            dq_rad_s=np.zeros(7),
            tau_ext_nm=np.zeros(7),
            measured=RigidState(pose, self.twist),
            wrench=np.zeros(6),
            error="",
        )

    def start_tracking(self) -> None:
        self.tracking = True

    def track(self, reference: RigidState) -> None:
        assert self.tracking
        self.told.append(reference)
        self.commanded = reference
        self.q_rad = solve_ik(reference.pose, self.q_rad, CELL.tool.T_flange_ee)

    def start_joint_motion(self, q_rad: np.ndarray, speed: float = 1.0) -> None:
        self.calls.append("joint motion")
        self.speeds.append(speed)
        self.tracking, self.left, self.goal = False, 10, q_rad

    def motion_running(self) -> bool:
        if self.left:
            self.left -= 1
            self.q_rad = self.goal if not self.left else self.q_rad
            return self.left > 0
        return self.tracking

    def stop(self) -> None:
        self.calls.append("stop")
        self.tracking, self.left = False, 0

    def recover(self) -> None:
        self.calls.append("recover")
        self.mode = RobotMode.IDLE

    def close(self) -> None:
        self.calls.append("close")


class IdealGripper:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.held = 0
        self.reading = GripperReading()

    def connect(self) -> None: ...

    def command(self, width_m: float) -> None:
        self.asked.append(width_m)

    def hold(self) -> None:
        self.held += 1

    def close(self) -> None: ...


class Bench:
    """A controller, its ideal arm and a clock."""

    def __init__(self, **changes) -> None:
        self.arm, self.gripper, self.now_ns = IdealArm(), IdealGripper(), 1_763_000_000_000_000_000
        self.controller = ArmController(self.arm, self.gripper, replace(CONFIG, **changes))
        self.controller.connect()

    @property
    def report(self):
        return self.controller.report

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 125)):
            self.now_ns += PERIOD_NS
            self.controller.tick(self.now_ns)

    def bring_home(self) -> None:
        self.controller.home()
        self.run(0.2)
        assert (self.report.mode, self.report.reason) == (ArmMode.READY, AT_HOME)

    def start(self) -> "Bench":
        self.bring_home()
        self.controller.start()
        return self

    def chunk(self, offset_m=(0.0, 0.05, 0.0), **changes) -> TimedChunk:
        """Ten periods from where the arm is to an offset, at rest at both ends."""
        pose = self.report.reading.measured.pose
        s = np.linspace(0, 1, 11)
        blend = s * s * (3 - 2 * s)
        dt_ns = changes.get("dt_ns", 50 * MS) or 50 * MS
        chunk = TimedChunk(
            stamp_ns=self.now_ns,
            dt_ns=dt_ns,
            sequence=1,
            epoch=self.report.epoch,
            bundle_hash="test",
            positions_m=pose[:3, 3] + blend[:, None] * np.asarray(offset_m),
            quats_xyzw=np.tile(Rotation.from_matrix(pose[:3, :3]).as_quat(), (11, 1)),
            twists=np.c_[(6 * s * (1 - s) / (1e-8 * dt_ns))[:, None] * np.asarray(offset_m), np.zeros((11, 3))],
            gripper_width_m=np.full(11, 0.02),
        )
        return replace(chunk, **changes)

    def offer(self, offset_m=(0.0, 0.05, 0.0), **changes) -> None:
        self.controller.offer(self.chunk(offset_m, **changes), self.now_ns)

    def position(self) -> np.ndarray:
        return self.report.reading.measured.pose[:3, 3].copy()

    def speed_m_s(self) -> float:
        return float(np.linalg.norm(self.arm.told[-1].twist[:3]))


def test_home_start_follow_and_hold():
    bench = Bench().start()
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


@pytest.mark.parametrize("silent", ["policy", "states", "values", "operator", "stop"])
def test_whoever_goes_quiet_the_arm_comes_to_rest_smoothly(silent):
    bench = Bench(deadman=silent == "operator").start()
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


def test_accelerations_are_told_only_on_the_way_to_rest():
    bench = Bench().start()
    bench.offer()
    bench.run(0.3)
    followed = len(bench.arm.told)
    assert bench.arm.told[-1].twist.any() and not any(isinstance(told, Motion) for told in bench.arm.told[-20:])
    bench.controller.stop()
    bench.run(0.3)
    stopping = bench.arm.told[followed:]
    assert all(isinstance(told, Motion) for told in stopping)
    assert max(np.abs(told.acceleration).max() for told in stopping) > 0.1 and not stopping[-1].acceleration.any()


def test_while_the_states_are_lost_no_chunk_is_taken():
    bench = Bench().start()
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


def test_with_a_dead_man_switch_chunks_count_only_while_it_is_held():
    bench = Bench(deadman=True).start()
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


def test_an_emergency_stop_takes_effect_at_once_and_is_latched():
    bench = Bench().start()
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
def test_after_a_stop_of_the_robot_only_the_operator_goes_on_slowly_and_without_old_chunks(mode):
    bench = Bench().start()
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
def test_ticks_that_stall_make_no_jump(stall_ms):
    bench = Bench().start()
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


def test_after_a_stall_it_goes_on_from_where_the_driver_brought_the_arm_meanwhile():
    bench = Bench().start()
    bench.offer((0.0, 0.15, 0.05), dt_ns=100 * MS)
    bench.run(0.2)
    rested = RigidState(bench.arm.told[-1].pose.copy(), np.zeros(6))
    rested.pose[1, 3] += 0.01
    bench.arm.commanded = rested
    bench.now_ns += 300 * MS
    bench.run(0.008)
    np.testing.assert_allclose(bench.arm.told[-1].pose, rested.pose, atol=1e-9)
    assert bench.speed_m_s() < 0.05


def test_the_speed_scale_slows_chunks_and_homing_and_stops_at_zero():
    ways = []
    for scale in (1.0, 0.5):
        bench = Bench(speed_scale=scale, chunk_timeout_s=2.0).start()
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


def test_it_goes_to_named_poses_with_the_gripper_as_it_is():
    bench = Bench()
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


def test_targets_outside_the_workspace_are_clipped_and_counted():
    bench = Bench().start()
    bench.offer((0.0, 0.0, -0.6), dt_ns=200 * MS)
    bench.run(0.59)
    bench.offer((0.0, 0.0, -0.2), dt_ns=100 * MS)
    bench.run(0.5)
    assert bench.report.mode == ArmMode.RUNNING
    assert bench.report.reference.pose[2, 3] >= CELL.workspace_min_m[2] - 1e-6
    assert sum(bench.report.safety_counts.values()) == bench.report.safety_interventions > 0
    assert set(bench.report.safety_counts) & {"workspace", "table"}


def test_bad_chunks_are_counted_by_reason_and_move_nothing():
    bench = Bench().start()
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


def test_held_from_outside_it_comes_to_rest_smoothly_and_only_out_of_a_motion():
    bench = Bench().start()
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


def test_before_start_chunks_are_left_alone_without_a_word():
    bench = Bench()
    bench.bring_home()
    bench.offer()
    bench.run(0.1)
    assert (bench.report.mode, bench.report.chunks_accepted, bench.report.chunks_refused) == (ArmMode.READY, 0, 0)


def test_a_robot_that_does_not_answer_is_said_to_be_gone_and_comes_back_only_on_call():
    bench = Bench().start()
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


def test_a_lost_robot_in_reflex_stays_disconnected_until_the_operator_reconnects():
    bench = Bench().start()
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


def test_periods_without_a_tick_are_counted_and_late_ticks_are_not():
    bench = Bench().start()
    start_ns, before = bench.now_ns + 10 * PERIOD_NS, None
    for due in (0, 1, 2.4, 3, 4.9, 5, 8, 9, 12.5, 13):
        bench.controller.tick(start_ns + round(due * PERIOD_NS))
        before = before or (bench.report.ticks, bench.report.missed_ticks)
    ticks, missed = bench.report.ticks - before[0], bench.report.missed_ticks - before[1]
    assert (ticks, missed) == (9, 2 + 2), "periods 6, 7 and 10, 11 had no tick"


def test_a_configuration_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="home_q_rad needs 7 joints, got 6"):
        replace(CONFIG, home_q_rad=HOME[:6])
    with pytest.raises(ConfigError, match=r"home_gripper_width_m must lie in \[0, 0.08\]"):
        replace(CONFIG, home_gripper_width_m=0.2)
    with pytest.raises(ConfigError, match="stall_ticks must be at least 1"):
        replace(CONFIG, stall_ticks=0)
    with pytest.raises(ConfigError, match=r"recovery_dynamics must lie in \(0, 1\]"):
        replace(CONFIG, recovery_dynamics=0.0)
