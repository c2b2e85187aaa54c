"""The arm's state machine: chunks in, references out, at every tick; no ROS, no clock, no threads.

Time enters with each call. The watchdog lives here and trusts nobody: when chunks stop, the arm comes to rest.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from d2ppo_core.drivers.base import ArmDriver, ArmReading, GripperDriver, RobotMode
from d2ppo_core.errors import ConfigError, RobotError
from d2ppo_core.runtime.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.osc import RigidState
from d2ppo_core.runtime.reference import ReferenceGenerator
from d2ppo_core.runtime.safety import SafetyFilter, SafetyLimits


class ArmMode(IntEnum):
    """States of the arm node; the numbers are those of ``d2ppo_interfaces/ArmState``."""

    IDLE = 0
    READY = 1
    RUNNING = 2
    HOLDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    ESTOPPED = 6
    DISCONNECTED = 7


AT_HOME = "at home"
"""Reason of READY after homing; a stop gives another one."""

_CLOCK_STEP_NS = 20_000_000
"""How far two nodes' clocks may be apart: a simulated clock comes in steps."""

_TRACKING = (ArmMode.READY, ArmMode.RUNNING, ArmMode.HOLDING)


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """How the arm is commanded.

    Attributes:
        reference_hz: Rate of the references.
        chunk_timeout_s: Longest time without a fresh chunk before the arm holds: three policy periods.
        blend_s: Time in which the jump at a seam fades out.
        home_q_rad: Joint position that ``home`` goes to.
        home_gripper_width_m: Opening that ``home`` goes to.
        limits: Limits of the safety filter.
    """

    reference_hz: float
    chunk_timeout_s: float
    blend_s: float
    home_q_rad: tuple[float, ...]
    home_gripper_width_m: float
    limits: SafetyLimits

    def __post_init__(self) -> None:
        if len(self.home_q_rad) != 7:
            raise ConfigError(f"home_q_rad needs 7 joints, got {len(self.home_q_rad)}")
        if not 0.0 <= self.home_gripper_width_m <= 0.08:
            raise ConfigError(f"home_gripper_width_m must lie in [0, 0.08], got {self.home_gripper_width_m}")


@dataclass(frozen=True, kw_only=True)
class ArmReport:
    """What the arm publishes after a tick."""

    mode: ArmMode = ArmMode.DISCONNECTED
    reason: str = "not connected yet"
    epoch: int = 0
    stamp_ns: int = 0
    reading: ArmReading | None = None
    reference: RigidState | None = None
    ticks: int = 0
    missed_ticks: int = 0
    chunks_accepted: int = 0
    chunks_refused: int = 0
    safety_interventions: int = 0
    chunk_sequence: int = 0
    chunk_stamp_ns: int = 0
    chunk_first_command_ns: int = 0


class ArmController:
    """Drives one arm and its gripper through explicit states."""

    def __init__(self, arm: ArmDriver, gripper: GripperDriver, config: ArmConfig) -> None:
        """Take the drivers, unconnected."""
        self._arm, self._gripper, self._config = arm, gripper, config
        self._filter = SafetyFilter(config.limits)
        self._generator: ReferenceGenerator | None = None
        self._homing = False
        self._schedule: tuple[int, int] | None = None
        self._last_chunk_ns = 0
        self.report = ArmReport()

    def connect(self) -> None:
        """Connect arm and gripper; raises RobotError."""
        self._arm.connect()
        self._gripper.connect()
        self._enter(ArmMode.IDLE, "connected; call home")

    def close(self) -> None:
        """Stop and disconnect."""
        self._arm.close()
        self._gripper.close()
        self._enter(ArmMode.DISCONNECTED, "closed")

    # Operator's calls. Each raises RobotError with the reason when the present state does not allow it.

    def home(self) -> None:
        """Go to the home position slowly; READY follows."""
        self._require((ArmMode.IDLE, *_TRACKING), "home")
        self._gripper.command(self._config.home_gripper_width_m)
        self._generator = None
        self._arm.start_joint_motion(np.asarray(self._config.home_q_rad))
        self._homing = True
        self._enter(ArmMode.IDLE, "homing")

    def start(self) -> None:
        """Allow chunks to move the arm."""
        self._require((ArmMode.READY, ArmMode.HOLDING, ArmMode.RUNNING), "start")
        self._last_chunk_ns = self.report.stamp_ns
        self._enter(ArmMode.RUNNING, "follows chunks")

    def stop(self) -> None:
        """Come to rest from the present command and hold; chunks are left alone until ``start``."""
        self._require(_TRACKING, "stop")
        report = self.report
        if self._generator is not None and report.reference is not None:
            self._generator.rest(report.reference, report.stamp_ns)
        self.report = replace(report, epoch=report.epoch + 1)
        self._enter(ArmMode.READY, "stopped by the operator")

    def estop(self) -> None:
        """Stop now and stay stopped until ``clear_estop``; allowed in every state."""
        if self.report.mode != ArmMode.ESTOPPED:
            self._rest("emergency stop", ArmMode.ESTOPPED)

    def halt(self, reason: str) -> None:
        """Stop any motion and forget all targets; the arm stays at rest until ``home``. States at rest stay."""
        if self.report.mode in (ArmMode.IDLE, *_TRACKING):
            self._rest(reason, ArmMode.IDLE)

    def clear_estop(self) -> None:
        """Leave the emergency stop; the arm stays at rest until ``home``."""
        self._require((ArmMode.ESTOPPED,), "clear_estop")
        self._enter(ArmMode.IDLE, "emergency stop cleared; call home")

    def recover(self) -> None:
        """Clear a reflex or reconnect; the arm stays at rest until ``home``."""
        self._require((ArmMode.REFLEX, ArmMode.DISCONNECTED, ArmMode.USER_STOPPED), "error_recovery")
        if self.report.mode == ArmMode.DISCONNECTED:
            self._arm.close()
            self._gripper.close()
            self.connect()
        else:
            self._arm.recover()
            self._enter(ArmMode.IDLE, "recovered; call home")

    def offer(self, chunk: TimedChunk, now_ns: int) -> None:
        """Follow a chunk from now on, or raise ChunkRefusedError with the reason.

        Before ``start`` and at rest chunks are left alone without a word: a policy may run ahead of the operator.
        """
        if self.report.mode not in (ArmMode.RUNNING, ArmMode.HOLDING) or self._generator is None:
            return
        try:
            self._refuse_if_unfit(chunk, now_ns)
        except ChunkRefusedError:
            self.report = replace(self.report, chunks_refused=self.report.chunks_refused + 1)
            raise
        self._generator.follow(chunk, now_ns)
        self._last_chunk_ns = now_ns
        self.report = replace(
            self.report,
            chunks_accepted=self.report.chunks_accepted + 1,
            chunk_sequence=chunk.sequence,
            chunk_stamp_ns=chunk.stamp_ns,
            chunk_first_command_ns=0,
        )
        if self.report.mode == ArmMode.HOLDING:
            self._enter(ArmMode.RUNNING, "chunks are back")

    def _refuse_if_unfit(self, chunk: TimedChunk, now_ns: int) -> None:
        if chunk.epoch != self.report.epoch:
            raise ChunkRefusedError(f"chunk of epoch {chunk.epoch}, the arm is in epoch {self.report.epoch}")
        chunk.refuse_if_malformed()
        followed = self._generator.chunk if self._generator is not None else None
        if followed is not None and chunk.stamp_ns < followed.stamp_ns:
            late_ms = (followed.stamp_ns - chunk.stamp_ns) / 1e6
            raise ChunkRefusedError(f"{late_ms:.0f} ms older than the chunk followed; does a second policy run?")
        if chunk.stamp_ns - now_ns > _CLOCK_STEP_NS:
            raise ChunkRefusedError(f"stamp lies {(chunk.stamp_ns - now_ns) / 1e6:.0f} ms in the future")
        if chunk.end_ns <= now_ns:
            raise ChunkRefusedError(f"its last target was due {(now_ns - chunk.end_ns) / 1e6:.0f} ms ago")

    def tick(self, now_ns: int) -> ArmReport:
        """Read the robot, follow its state, send one reference; never raises for what a robot can do."""
        self._count_tick(now_ns)
        try:
            reading = self._arm.read()
            self.report = replace(self.report, reading=reading, stamp_ns=now_ns)
            self._follow_robot(reading)
            if self.report.mode in _TRACKING or self._homing:
                self._follow_motion(now_ns)
            if self.report.mode in _TRACKING:
                self._command(now_ns)
        except RobotError as error:
            if self.report.mode == ArmMode.ESTOPPED:  # only clear_estop ends it
                self._enter(ArmMode.ESTOPPED, f"emergency stop; {error}")
            elif self.report.mode != ArmMode.DISCONNECTED:
                self._drop(str(error), ArmMode.DISCONNECTED)
        return self.report

    def _count_tick(self, now_ns: int) -> None:
        """Count ticks and those missed: periods of the schedule that passed without one."""
        if self.report.mode not in _TRACKING:
            self._schedule = None
            return
        if self._schedule is None:
            self._schedule = (now_ns, 0)
        first_ns, last = self._schedule
        period = int((now_ns - first_ns) * 1e-9 * self._config.reference_hz + 1e-6)
        missed = max(0, period - last - 1)
        self._schedule = (first_ns, period)
        self.report = replace(self.report, ticks=self.report.ticks + 1, missed_ticks=self.report.missed_ticks + missed)

    def _follow_robot(self, reading: ArmReading) -> None:
        mode = self.report.mode
        if mode == ArmMode.ESTOPPED:
            return
        if reading.mode == RobotMode.REFLEX and mode != ArmMode.REFLEX:
            self._drop(f"the robot stopped itself: {reading.error or 'reflex'}; call error_recovery", ArmMode.REFLEX)
        elif reading.mode in (RobotMode.USER_STOPPED, RobotMode.GUIDING) and mode != ArmMode.USER_STOPPED:
            self._drop(f"the robot is in {reading.mode.name.lower()}; targets dropped", ArmMode.USER_STOPPED)
        elif reading.mode in (RobotMode.IDLE, RobotMode.MOVE) and mode in (ArmMode.USER_STOPPED, ArmMode.REFLEX):
            self._enter(ArmMode.IDLE, "the robot is free again; call home")

    def _follow_motion(self, now_ns: int) -> None:
        try:
            if self._arm.motion_running():
                return
            if self._homing:
                self._arm.start_tracking()
                self._homing = False
                self._seed(now_ns)
                self._enter(ArmMode.READY, AT_HOME)
            else:
                self._drop("the robot ended the control loop; call home", ArmMode.IDLE)
        except RobotError as error:
            self._drop(f"motion aborted: {error}; call home", ArmMode.IDLE)

    def _command(self, now_ns: int) -> None:
        report, config = self.report, self._config
        if self._generator is None or report.reading is None or report.reference is None:
            return
        wanted = self._generator.sample(now_ns)
        try:
            command = self._filter.apply(wanted, report.reference.pose, 1.0 / config.reference_hz)
        except ValueError as error:
            self._seed(now_ns)
            self._enter(ArmMode.READY, f"{error}; stopped")
            return
        self._arm.track(command)
        first_ns = report.chunk_first_command_ns
        if report.mode == ArmMode.RUNNING and self._generator.chunk is not None:
            self._gripper.command(_gripper_width(self._generator.chunk, now_ns))
            first_ns = first_ns or now_ns
        self.report = replace(
            report,
            reference=command,
            chunk_first_command_ns=first_ns,
            safety_interventions=self._filter.interventions,
        )
        silence_s = (now_ns - self._last_chunk_ns) * 1e-9
        if report.mode == ArmMode.RUNNING and silence_s > config.chunk_timeout_s:
            self._generator.rest(command, now_ns)
            self._enter(ArmMode.HOLDING, f"no chunk for {silence_s:.2f} s; holds")

    def _seed(self, now_ns: int) -> None:
        """Start a new epoch from rest at the measured pose: nothing older may move the arm."""
        reading = self._arm.read()
        self._generator = ReferenceGenerator(reading.measured.pose, self._config.blend_s)
        self._last_chunk_ns = now_ns
        self.report = replace(
            self.report, epoch=self.report.epoch + 1, reference=RigidState(reading.measured.pose, np.zeros(6))
        )

    def _drop(self, reason: str, mode: ArmMode) -> None:
        """Forget all targets and start a new epoch in a state at rest."""
        self._generator, self._homing = None, False
        self.report = replace(self.report, epoch=self.report.epoch + 1, reference=None)
        self._enter(mode, reason)

    def _rest(self, reason: str, mode: ArmMode) -> None:
        """Forget all targets and stop the robot; the state is entered whether it answers or not."""
        self._drop(reason, mode)
        try:
            self._arm.stop()
        except RobotError as error:
            self._enter(mode, f"{reason}; {error}")

    def _enter(self, mode: ArmMode, reason: str) -> None:
        self.report = replace(self.report, mode=mode, reason=reason)

    def _require(self, modes: tuple[ArmMode, ...], call: str) -> None:
        if self.report.mode not in modes:
            allowed = ", ".join(mode.name for mode in modes)
            raise RobotError(f"{call} needs {allowed}; the arm is {self.report.mode.name}: {self.report.reason}")


def _gripper_width(chunk: TimedChunk, now_ns: int) -> float:
    index = int(np.clip((now_ns - chunk.stamp_ns) // chunk.dt_ns, 0, len(chunk.gripper_width_m) - 1))
    return float(chunk.gripper_width_m[index])
