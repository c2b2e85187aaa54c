"""The arm's state machine: chunks in, references out, at every tick; no ROS, no clock, no threads.

Time enters with each call. The watchdogs live here and trust nobody: when chunks, the robot's states or the ticks
themselves stop, the arm comes to rest.
"""

from dataclasses import replace

import numpy as np

from d2ppo_core.errors import RobotError
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.arm_state import AT_HOME, BY_HAND, HOME, ArmConfig, ArmMode, ArmReport
from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.protocols import ArmDriver, ArmReading, GripperDriver, GripperOrder
from d2ppo_core.runtime.control.reference import ReferenceGenerator
from d2ppo_core.runtime.control.sources import ChunkSources
from d2ppo_core.runtime.control.speed import SpeedScale
from d2ppo_core.runtime.control.watchdogs import DeadmanSwitch, Freshness, TickCount, says_itself
from d2ppo_core.runtime.safety.filter import SafetyFilter
from d2ppo_core.runtime.safety.robots import robot_named

__all__ = ["AT_HOME", "ArmConfig", "ArmController", "ArmMode", "ArmReport"]

_TRACKING = (ArmMode.READY, ArmMode.RUNNING, ArmMode.HOLDING)
_FOLLOWING = (ArmMode.RUNNING, ArmMode.HOLDING)
_LEAST_HOMING_SPEED = 0.1
"""Homing never takes longer than ten times as long, whatever the speed scale."""


class ArmController:
    """Drives one arm and its gripper through explicit states."""

    def __init__(self, arm: ArmDriver, gripper: GripperDriver, config: ArmConfig) -> None:
        """Take the drivers, unconnected."""
        self._arm, self._gripper, self._config = arm, gripper, config
        self._filter = SafetyFilter(config.cell, robot_named(config.cell.robot))
        self._sources = ChunkSources(config.hand_timeout_s)
        self._takeover = self._sources.takeover
        self._speed = SpeedScale(config.speed_scale)
        self._generator: ReferenceGenerator | None = None
        self._freshness = Freshness(config.state_timeout_s)
        self._deadman = DeadmanSwitch(config.deadman_timeout_s, config.deadman)
        self._count = TickCount(config.reference_hz)
        self._going_to = self._lost = ""
        self._shaken = False
        self._last_tick_ns = self._last_chunk_ns = 0
        self.report = ArmReport(speed_scale=config.speed_scale)

    def connect(self) -> None:
        """Connect arm and gripper; raises RobotError, or ConfigError when the robot has another tool than the cell."""
        self._arm.connect()
        self._gripper.connect()
        reading = self._arm.read()
        self._filter.refuse_if_tool_differs(reading.measured.pose, reading.q_rad)
        self._lost = ""
        self._enter(ArmMode.IDLE, "connected; call home")

    def close(self) -> None:
        """Stop and disconnect."""
        self._arm.close()
        self._gripper.close()
        self._enter(ArmMode.DISCONNECTED, "closed")

    # Operator's calls. Each raises RobotError with the reason when the present state does not allow it.

    def home(self) -> None:
        """Go to the home position slowly and open the gripper; READY follows."""
        self._go(HOME, self._config.home_q_rad, HOME)
        self._gripper.command(self._config.home_gripper_width_m)

    def go_to(self, name: str) -> None:
        """Go to a named pose slowly, the gripper as it is; READY follows. An unknown name is answered with the list."""
        poses = {**self._config.poses, HOME: self._config.home_q_rad}
        if name not in poses:
            raise RobotError(f"no pose named {name!r}; known: {', '.join(sorted(poses))}")
        self._go(name, poses[name], f"go to {name}")

    def start(self) -> None:
        """Allow chunks to move the arm; the next one fixes the bundle that is followed."""
        self._require((ArmMode.READY, ArmMode.HOLDING, ArmMode.RUNNING), "start")
        self._last_chunk_ns = self.report.stamp_ns
        self._sources.start()
        self._enter(ArmMode.RUNNING, "follows chunks")

    def stop(self) -> None:
        """Come to rest from the present command and hold; chunks are left alone until ``start``."""
        self._require(_TRACKING, "stop")
        self._come_to_rest()
        self.report = replace(self.report, epoch=self.report.epoch + 1)
        self._enter(ArmMode.READY, "stopped by the operator")

    def estop(self) -> None:
        """Stop now and stay stopped until ``clear_estop``; allowed in every state. What is grasped stays grasped."""
        if self.report.mode != ArmMode.ESTOPPED:
            self._shaken = True
            self._rest("emergency stop", ArmMode.ESTOPPED)
            self._gripper.hold()

    def halt(self, reason: str) -> None:
        """Stop any motion and forget all targets; the arm stays at rest until ``home``. States at rest stay."""
        if self.report.mode in (ArmMode.IDLE, *_TRACKING):
            self._rest(reason, ArmMode.IDLE)

    def hold(self, reason: str) -> None:
        """Come to rest in the middle of a policy's motion; the next chunk goes on. Other states stay."""
        if self.report.mode == ArmMode.RUNNING:
            self._come_to_rest()
            self._enter(ArmMode.HOLDING, reason)

    def clear_estop(self) -> None:
        """Leave the emergency stop; the arm stays at rest until ``home``."""
        self._require((ArmMode.ESTOPPED,), "clear_estop")
        self._enter(ArmMode.IDLE, "emergency stop cleared; call home")

    def recover(self) -> None:
        """Clear a reflex or reconnect; the arm stays at rest until ``home``, which is slower than usual this once."""
        self._require((ArmMode.REFLEX, ArmMode.DISCONNECTED, ArmMode.USER_STOPPED), "recover")
        self._shaken = True
        if self.report.mode == ArmMode.DISCONNECTED:
            self._arm.close()
            self._gripper.close()
            self.connect()
        else:
            self._arm.recover()
            self._enter(ArmMode.IDLE, "recovered; call home")

    def hand(self, order: GripperOrder) -> int:
        """Let the hand do something while the arm follows nobody; returns the order's number in the readings."""
        self._require((ArmMode.IDLE, ArmMode.READY, ArmMode.REFLEX, ArmMode.USER_STOPPED), "moving the hand")
        return self._gripper.order(order)

    def set_speed(self, scale: float, now_ns: int) -> None:
        """Drive along chunks at a fraction in [0, 1] of their speed from now on, smoothly; ConfigError outside."""
        self._speed.set(scale, now_ns)
        self.report = replace(self.report, speed_scale=scale)

    # What arrives without being asked for.

    def hold_deadman(self, held: bool, now_ns: int) -> None:
        """Take a message of the dead-man switch; it counts for ``deadman_timeout_s``, a release counts at once."""
        self._deadman.hear(held, now_ns)

    def let_go(self, now_ns: int) -> None:
        """Take the arm from a hand that had it: it comes to rest, and nothing from before moves it any more."""
        if self._takeover.by_hand:
            self.hold("the hand let go; holds until the next chunk")
            self._takeover.outdate(now_ns)

    def announce_bundle(self, bundle_hash: str) -> None:
        """Take note of the bundle that the policy node says it runs: a swap is followed, a foreign bundle is not."""
        self._sources.announce(bundle_hash)

    def refuse(self, error: ChunkRefusedError) -> None:
        """Count a chunk that was refused before it became one."""
        self._sources.count(error)
        self.report = replace(self.report, refused=dict(self._sources.refused))

    def offer(self, chunk: TimedChunk, now_ns: int, *, by_hand: bool = False) -> None:
        """Follow a chunk from now on, if `admit` says so; raises as that does."""
        if self.admit(chunk, now_ns, by_hand=by_hand):
            self.follow(chunk, now_ns, by_hand=by_hand)

    def admit(self, chunk: TimedChunk, now_ns: int, *, by_hand: bool = False) -> bool:
        """Tell whether a policy's or a hand's chunk is to be followed, or raise ChunkRefusedError with the reason.

        Before ``start``, at rest, without the dead-man switch and while a hand has the arm, chunks are left alone
        without a word: a policy may run ahead of the operator. A hand's chunks say themselves that it holds its switch.
        """
        if self._generator is None or self.report.mode not in _FOLLOWING:
            return False
        if not by_hand and (self._takeover.by_hand or not self._deadman.lets(now_ns)):
            return False
        blind, epoch = self._freshness.lost_s(now_ns) is not None, self.report.epoch
        try:
            self._sources.admit(chunk, self._generator.chunk, epoch, now_ns, by_hand=by_hand, blind=blind)
        except ChunkRefusedError as error:
            self.refuse(error)
            raise
        return True

    def follow(self, chunk: TimedChunk, now_ns: int, *, by_hand: bool = False) -> None:
        """Follow a chunk that was admitted, unless the arm stopped or was taken since."""
        counts = self.report.mode in _FOLLOWING and chunk.epoch == self.report.epoch
        if self._generator is None or not counts or (self._takeover.by_hand and not by_hand):
            return
        if by_hand:
            self._takeover.take(now_ns)
        self._generator.follow(chunk, now_ns)
        self._last_chunk_ns = now_ns
        self.report = replace(
            self.report,
            chunks_accepted=self.report.chunks_accepted + 1,
            chunk_sequence=chunk.sequence,
            chunk_stamp_ns=chunk.stamp_ns,
            chunk_first_command_ns=0,
            bundle_hash=chunk.bundle_hash,
            by_hand=by_hand,
        )
        if self.report.mode == ArmMode.HOLDING or (by_hand and self.report.reason != BY_HAND):
            self._enter(ArmMode.RUNNING, BY_HAND if by_hand else "chunks are back")

    def tick(self, now_ns: int) -> ArmReport:
        """Read the robot, follow its state, send one reference; never raises for what a robot can do."""
        self._count.count(now_ns, self.report.mode in _TRACKING)
        if self._lost:  # asking again would block for seconds, every time; recover connects anew
            self._say_lost()
            return self.report
        try:
            reading = self._arm.read()
            report = replace(self.report, reading=reading, stamp_ns=now_ns, deadman_held=self._deadman.held(now_ns))
            self.report = replace(report, ticks=self._count.ticks, missed_ticks=self._count.missed)
            self._follow_robot(reading)
            if self.report.mode in _TRACKING or self._going_to:
                self._follow_motion(now_ns)
            if self.report.mode in _TRACKING:
                self._command(now_ns)
        except RobotError as error:
            self._lost = str(error)
            self._say_lost()
        self._last_tick_ns = now_ns
        return self.report

    def _say_lost(self) -> None:
        if self.report.mode == ArmMode.ESTOPPED:  # only clear_estop ends it
            self._enter(ArmMode.ESTOPPED, f"emergency stop; {self._lost}")
        elif self.report.mode != ArmMode.DISCONNECTED:
            self._drop(self._lost, ArmMode.DISCONNECTED)

    def _go(self, name: str, q_rad: tuple[float, ...], call: str) -> None:
        self._require((ArmMode.IDLE, *_TRACKING), call)
        if (scale := self._speed.setting) == 0.0:
            raise RobotError(f"{call}: the speed scale is 0; raise speed_scale first")
        speed = max(scale, _LEAST_HOMING_SPEED) * (self._config.recovery_dynamics if self._shaken else 1.0)
        self._generator = None
        self._arm.start_joint_motion(np.asarray(q_rad, dtype=float), speed)
        self._going_to = name
        self.report = replace(self.report, reference=None)
        self._enter(ArmMode.IDLE, "homing" if name == HOME else f"on the way to {name}")

    def _follow_robot(self, reading: ArmReading) -> None:
        mode, reason = says_itself(reading, self.report.mode) or (None, "")
        if mode == ArmMode.IDLE:
            self._enter(mode, reason)
        elif mode is not None:
            self._shaken = True
            self._drop(reason, mode)

    def _follow_motion(self, now_ns: int) -> None:
        try:
            if self._arm.motion_running():
                return
            if self._going_to:
                self._arm.start_tracking()
                name, self._going_to, self._shaken = self._going_to, "", False
                self._seed(now_ns)
                self._enter(ArmMode.READY, f"at {name}")
            else:
                self._drop("the robot ended the control loop; call home", ArmMode.IDLE)
        except RobotError as error:
            self._drop(f"motion aborted: {error}; call home", ArmMode.IDLE)

    def _command(self, now_ns: int) -> None:
        report, config, generator = self.report, self._config, self._generator
        if generator is None or report.reading is None or report.reference is None:
            return
        self._freshness.see(report.reading, report.reference.twist, now_ns)
        period_s = 1.0 / config.reference_hz
        previous = report.reference
        if now_ns - self._last_tick_ns > (config.stall_ticks + 0.5) * period_s * 1e9:
            previous = self._arm.commanded or previous
            generator.resume(previous, now_ns)
        wanted = generator.sample(now_ns)
        try:
            command = self._filter.apply(wanted, previous, report.reading.q_rad, period_s)
        except ValueError as error:
            self._seed(now_ns)
            self._enter(ArmMode.READY, f"{error}; stopped")
            return
        generator.overrule(None if command is wanted else command, now_ns)
        # A stop is quicker with its acceleration fed forward; behind noisy chunks that would only shake the joints.
        self._arm.track(command if generator.chunk is None else RigidState(command.pose, command.twist))
        first_ns = report.chunk_first_command_ns
        if report.mode == ArmMode.RUNNING and generator.chunk is not None:
            self._gripper.command(float(generator.chunk.gripper_width_m[generator.index(now_ns)]))
            first_ns = first_ns or now_ns
        self.report = replace(
            report,
            reference=command,
            chunk_first_command_ns=first_ns,
            safety_interventions=self._filter.interventions,
            safety_counts={check: count for check, count in self._filter.counts.items() if count},
        )
        self._watch(now_ns)

    def _watch(self, now_ns: int) -> None:
        """Hold when somebody has gone quiet: the policy, the robot or the operator's hand."""
        if self.report.mode != ArmMode.RUNNING:
            return
        silence_s, blind_s = (now_ns - self._last_chunk_ns) * 1e-9, self._freshness.lost_s(now_ns)
        reason = ""
        if self._takeover.silent(now_ns):
            reason = f"no chunk of the hand for {silence_s:.2f} s; holds"
        elif not (self._takeover.by_hand or self._deadman.lets(now_ns)):
            reason = "the dead-man switch is not held; holds"
        elif blind_s is not None:
            reason = f"the robot's state is {blind_s:.2f} s old; holds"
        elif silence_s > self._config.chunk_timeout_s:
            reason = f"no chunk for {silence_s:.2f} s; holds"
        if reason:
            self.hold(reason)

    def _come_to_rest(self) -> None:
        """Forget the chunk and lose the speed of the last command, smoothly."""
        if self._generator is not None and self.report.reference is not None:
            self._generator.rest(self.report.reference, self.report.stamp_ns)

    def _seed(self, now_ns: int) -> None:
        """Start a new epoch from rest at the measured pose: nothing older may move the arm."""
        reading = self._arm.read()
        self._generator = ReferenceGenerator(reading.measured.pose, self._config.blend, self._speed)
        self._freshness.begin(now_ns)
        self._last_chunk_ns = self._last_tick_ns = now_ns
        self.report = replace(
            self.report, epoch=self.report.epoch + 1, reference=RigidState(reading.measured.pose, np.zeros(6))
        )

    def _drop(self, reason: str, mode: ArmMode) -> None:
        """Forget all targets and start a new epoch in a state at rest."""
        self._generator, self._going_to = None, ""
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
        if mode != ArmMode.RUNNING and self._takeover.give_back(self.report.stamp_ns):
            self.report = replace(self.report, epoch=self.report.epoch + 1, by_hand=False)

    def _require(self, modes: tuple[ArmMode, ...], call: str) -> None:
        if self.report.mode not in modes:
            allowed = ", ".join(mode.name for mode in modes)
            raise RobotError(f"{call} needs {allowed}; the arm is {self.report.mode.name}: {self.report.reason}")
