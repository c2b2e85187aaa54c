"""ArmController and the real Franka driver, ticked by the clock of a recorded robot, for bench_arm.py."""

import time
from pathlib import Path

import numpy as np
from arm_chunks import NoisyPolicy
from arm_figures import PERIOD_MS
from arm_robot import RecordedRobot

from d2ppo_core.drivers.clients import franka_drivers
from d2ppo_core.drivers.franka import FrankaConfig, GripperConfig
from d2ppo_core.errors import RobotError, RobotUnreachableError
from d2ppo_core.runtime.control.arm import AT_HOME, ArmConfig, ArmController, ArmMode, ArmReport
from d2ppo_core.runtime.control.blend import BlendLimits
from d2ppo_core.runtime.control.chunk import ChunkRefusedError
from d2ppo_core.runtime.safety.cell import load_cell

HOME_RAD = (0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398)
_TRACKING = (ArmMode.READY, ArmMode.RUNNING, ArmMode.HOLDING)
_PATIENCE_S = 120.0


class ArmStoppedError(RuntimeError):
    """The arm left the states in which it tracks."""


class Drive:
    """One arm, and a log of its ticks; a context manager.

    In lock-step the world waits for each tick, so that a busy machine stretches time and nothing else. In real time
    ticks follow the robot's clock as well as the machine lets them.
    """

    def __init__(
        self,
        address: str,
        path: Path,
        *,
        real_time: bool,
        chunk_timeout_s: float,
        blend: BlendLimits | None = None,
        client: str = "franky",
        robot_version: int = 10,
    ) -> None:
        """Start the robot, connect and go home; ready to follow chunks."""
        self.robot = RecordedRobot(address, path, real_time=real_time, version=robot_version)
        self._real_time = real_time
        driven = FrankaConfig(
            address=address, client=client, homing_dynamics=0.3, friction_nm=0.16, friction_nms_rad=0.8
        )
        self._driver, hand = franka_drivers(driven, GripperConfig(address=address))
        config = ArmConfig(
            reference_hz=1e3 / PERIOD_MS,
            chunk_timeout_s=chunk_timeout_s,
            home_q_rad=HOME_RAD,
            home_gripper_width_m=0.04,
            cell=load_cell("sim_lift"),
            blend=blend or BlendLimits(),
        )
        self.controller = ArmController(self._driver, hand, config)
        self.now_ms = 0
        self.log: list[tuple[int, int, np.ndarray]] = []
        """Robot's clock (ms), CLOCK_MONOTONIC (ns) and reference pose of each tick."""
        self.refused = 0
        try:
            self._bring_home()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Drive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def report(self) -> ArmReport:
        """The newest one."""
        return self.controller.report

    def close(self) -> None:
        """Set time free and end everything."""
        if not self._real_time:
            self.robot.order(-1)
        self.controller.close()
        self.robot.end()

    def begin(self) -> None:
        """Start following chunks; from here on the world waits for the ticks."""
        self.controller.start()
        self.now_ms = self._driver.read().robot_time_ms if self._real_time else self.robot.order(0)

    def tick(self) -> ArmReport:
        """Wait for the next tick's time on the robot's clock, and tick; ArmStoppedError when it tracks no more."""
        self.now_ms = self._next_ms()
        report = self.controller.tick(self.now_ms * 1_000_000)
        if report.mode not in _TRACKING or report.reference is None:
            raise ArmStoppedError(f"{report.mode.name}: {report.reason}")
        self.log.append((self.now_ms, time.monotonic_ns(), report.reference.pose))
        return report

    def offer(self, policy: NoisyPolicy, time_s: float) -> None:
        """Hand over the chunk that a policy makes `time_s` after its beginning; a refused one is counted."""
        now_ns = self.now_ms * 1_000_000
        try:
            self.controller.offer(policy.chunk(time_s, now_ns, self.report.epoch), now_ns)
        except ChunkRefusedError:
            self.refused += 1

    def _next_ms(self) -> int:
        if not self._real_time:
            return self.robot.order(PERIOD_MS)
        due_ms = self.now_ms + PERIOD_MS - self.now_ms % PERIOD_MS
        deadline_s = time.monotonic() + _PATIENCE_S
        while (now_ms := self._driver.read().robot_time_ms) < due_ms:
            if time.monotonic() > deadline_s:
                raise ArmStoppedError("the robot's clock stands still")
            time.sleep(max(2e-4, 0.8e-3 * (due_ms - now_ms) - 5e-4))
        return now_ms

    def _bring_home(self) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.controller.connect()
                break
            except RobotUnreachableError:
                self.controller.close()
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.3)
        self.controller.home()
        while not (self.report.mode == ArmMode.READY and self.report.reason == AT_HOME):
            if time.monotonic() > deadline_s:
                raise RobotError(f"not at home: {self.report.reason}")
            self.controller.tick(self._driver.read().robot_time_ms * 1_000_000)
            time.sleep(1e-3 * PERIOD_MS)
