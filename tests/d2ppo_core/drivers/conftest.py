"""One simulated robot for a whole fault matrix, and the arm of the node driven against it in the robot's own time."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.drivers.clients import franka_drivers
from d2ppo_core.drivers.franka import FrankaConfig, GripperConfig
from d2ppo_core.errors import RobotError
from d2ppo_core.runtime.control.arm import AT_HOME, ArmConfig, ArmController, ArmMode, ArmReport
from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.safety.cell import load_cell
from d2ppo_core.runtime.safety.robots import PANDA

MS = 1_000_000
PERIOD_NS = 8 * MS
BEGIN_NS = 1_763_000_000_000_000_000
HOME = (0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398)
ASIDE = (0.075, 0.158, 0.0, -2.559, 0.0, 2.846, 0.785398)
HOMING_DYNAMICS = 0.17
"""From there homing takes 0.4 s. Faster, franky's stop drops an acceleration greater than the simulated FR3 allows."""
CONFIG = ArmConfig(
    reference_hz=1e9 / PERIOD_NS,
    chunk_timeout_s=0.15,
    home_q_rad=HOME,
    home_gripper_width_m=0.05,
    cell=load_cell("sim_lift"),
    deadman=True,
    recovery_dynamics=1.0,
)
CLIENTS = {"franky": 10, "franka_rs": 5}
"""Each client, and the version of the robot that it drives here."""
SWING_M, SWING_RAD_S = 0.04, 2.5
CHUNK_EVERY, CHUNK_STEP_NS, CHUNK_LENGTH = 8, 50 * MS, 11
PATIENCE_S = 20.0
BLOCKS_S = 0.25
"""A tick that takes longer waits for something."""


class FaultBench:
    """A served robot whose time passes by grants, and a fresh controller for each combination."""

    def __init__(self, address: str, clock_file: Path, client: str) -> None:
        self._address, self._client = address, client
        np.zeros(2, dtype=np.int64).tofile(clock_file)
        self._clock = np.memmap(clock_file, dtype=np.int64, mode="r+", shape=(2,))
        command = [sys.executable, str(Path(__file__).with_name("fault_robot.py")), address, str(clock_file)]
        command.append(str(CLIENTS[client]))
        self._robot = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._robot.stdout is not None and self._robot.stdout.readline() == "ready\n"

    def ask(self, call: str, *arguments: Any) -> Any:
        """Let the robot's process do something."""
        assert self._robot.stdin is not None and self._robot.stdout is not None
        print(json.dumps([call, *arguments]), file=self._robot.stdin, flush=True)
        return json.loads(self._robot.stdout.readline())

    def begin(self) -> None:
        """Connect a new controller to a robot that nothing happened to yet."""
        self.deadman, self.chunks, self.change = True, True, lambda chunk: chunk
        self.blocked_s, self._ticks, self._ticked_ns = 0.0, 0, 0
        self._last = self.last_chunk = None
        self.reference_shares = np.zeros(3)
        self._rates: list[np.ndarray] = []
        with self.time_free():
            self.ask("reset", HOME)
            config = FrankaConfig(address=self._address, client=self._client, homing_dynamics=HOMING_DYNAMICS)
            self.arm = ArmController(*franka_drivers(config, GripperConfig(address=self._address)), CONFIG)
            self.arm.connect()
        self.tick()

    def end(self) -> None:
        """Drop the controller."""
        with self.time_free():
            self.ask("inject", "clear")
            self.arm.close()

    def close(self) -> None:
        """End the robot's process."""
        assert self._robot.stdin is not None
        self._robot.stdin.close()
        self._robot.wait(10.0)

    @contextlib.contextmanager
    def time_free(self) -> Iterator[None]:
        """Let the robot's time pass unasked, e.g. while a call waits for an answer."""
        self._clock[1] = np.iinfo(np.int64).max
        try:
            yield
        finally:
            self._clock[1] = self._clock[0] + MS

    def call(self, operators: Callable[[], None]) -> None:
        """An operator's call."""
        with self.time_free():
            operators()

    @property
    def now_ns(self) -> int:
        """The node's clock: that of the world, which no fault touches."""
        return BEGIN_NS + int(self._clock[0])

    @property
    def report(self) -> ArmReport:
        return self.arm.report

    def pass_time(self, duration_ns: int) -> None:
        """Let the world go on this far, as fast as its client answers."""
        self._clock[1] = self._clock[0] + duration_ns
        deadline = time.monotonic() + PATIENCE_S
        while self._clock[0] < self._clock[1]:
            assert time.monotonic() < deadline, "the robot's process hangs"
            time.sleep(1e-3)

    def tick(self) -> None:
        """One period of the node: the operator's hand, sometimes a chunk, a tick."""
        self._ticks += 1
        if self.deadman:
            self.arm.hold_deadman(True, self.now_ns)
        if self.chunks and self._ticks % CHUNK_EVERY == 0 and self.report.reading is not None:
            self.last_chunk = self.change(self.chunk())
            with contextlib.suppress(ChunkRefusedError):
                self.arm.offer(self.last_chunk, self.now_ns)
        begun_s = time.monotonic()
        self._clock[1] = self._clock[0] + PERIOD_NS
        now_ns = self.now_ns
        self.arm.tick(now_ns)
        took_s = time.monotonic() - begun_s
        self.blocked_s += took_s if took_s > BLOCKS_S else 0.0
        self._watch_reference((now_ns - self._ticked_ns) * 1e-9)
        self._ticked_ns = now_ns
        self.pass_time(int(self._clock[1] - self._clock[0]))

    def run(self, seconds: float) -> None:
        """Tick for a while of simulated time."""
        for _ in range(round(seconds * CONFIG.reference_hz)):
            self.tick()

    def run_until(self, done: Callable[[ArmReport], bool], seconds: float = 10.0) -> None:
        """Tick until something holds."""
        for _ in range(round(seconds * CONFIG.reference_hz)):
            if done(self.report):
                return
            self.tick()
        raise AssertionError(f"still {self.report.mode.name}: {self.report.reason}")

    def chunk(self) -> TimedChunk:
        """Half a second of a swing to and fro around where home is."""
        report = self.report
        assert report.reading is not None
        if self._last is None or self._last[0] != report.epoch:
            self._last = (report.epoch, self.now_ns, report.reading.measured.pose.copy())
        _, since_ns, pose = self._last
        now_ns = self.now_ns
        phase = SWING_RAD_S * ((now_ns - since_ns) + CHUNK_STEP_NS * np.arange(CHUNK_LENGTH)) * 1e-9
        positions, twists = np.tile(pose[:3, 3], (CHUNK_LENGTH, 1)), np.zeros((CHUNK_LENGTH, 6))
        positions[:, 1] += SWING_M * np.sin(phase)
        twists[:, 1] = SWING_M * SWING_RAD_S * np.cos(phase)
        return TimedChunk(
            stamp_ns=now_ns,
            dt_ns=CHUNK_STEP_NS,
            sequence=self._ticks,
            epoch=report.epoch,
            bundle_hash="test",
            positions_m=positions,
            quats_xyzw=np.tile(Rotation.from_matrix(pose[:3, :3]).as_quat(), (CHUNK_LENGTH, 1)),
            twists=twists,
            gripper_width_m=np.full(CHUNK_LENGTH, 0.03),
        )

    def _watch_reference(self, period_s: float) -> None:
        """Shares of the cell's speed, the robot's acceleration and its jerk that successive references have."""
        reference = self.report.reference
        if reference is None:
            self._rates.clear()
            return
        self._rates = [*self._rates[-2:], reference.twist[:3].copy()]
        rates = np.array(self._rates)
        limits = (CONFIG.cell.linear_speed_m_s, PANDA.acceleration[0], PANDA.jerk[0])
        for order, limit in enumerate(limits):
            if len(rates) > order:
                share = np.linalg.norm(np.diff(rates, order, axis=0)[-1]) / period_s**order / limit
                self.reference_shares[order] = max(self.reference_shares[order], share)

    # --- the node's states -----------------------------------------------------------------------------------------

    def reach(self, state: str) -> None:
        """Bring the node into one of its states, from a fresh connection."""
        match state:
            case "homing":
                self.ask("reset", ASIDE)
                self.call(self.arm.home)
                self.run(0.1)
                return
            case "ready" | "running" | "holding":
                self.home()
                if state != "ready":
                    self.call(self.arm.start)
                    self.run(0.2)
                self.chunks = state == "running"
            case "reflex":
                self.ask("inject", "reflex")
            case "user_stopped":
                self.ask("inject", "user_stop")
            case "estopped":
                self.call(self.arm.estop)
            case "disconnected":
                self.ask("inject", "network_cut")
                self.run_until(lambda r: r.mode == ArmMode.DISCONNECTED)
                self.ask("inject", "clear")
        self.run_until(lambda r: r.mode.name.lower() == state)

    def home(self) -> None:
        """Bring the arm home."""
        self.call(self.arm.home)
        self.run_until(lambda r: r.mode == ArmMode.READY and r.reason == AT_HOME)

    def recover(self) -> None:
        """What an operator does, until the arm is ready at home."""
        deadline = time.monotonic() + PATIENCE_S
        while self.report.mode != ArmMode.READY or self.report.reason != AT_HOME:
            assert time.monotonic() < deadline, f"no way out of {self.report.mode.name}: {self.report.reason}"
            calls = {
                ArmMode.ESTOPPED: self.arm.clear_estop,
                ArmMode.REFLEX: self.arm.recover,
                ArmMode.USER_STOPPED: self.arm.recover,
                ArmMode.DISCONNECTED: self.arm.recover,
            }
            with contextlib.suppress(RobotError):
                self.call(calls.get(self.report.mode, self.arm.home))
            if not self.arm._going_to:
                self.run(0.05)
                continue
            with contextlib.suppress(AssertionError):
                self.run_until(lambda r: not self.arm._going_to, 5.0)


@pytest.fixture(scope="session")
def fault_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], FaultBench]]:
    """Makes the bench of a client at an address once."""
    benches: dict[str, FaultBench] = {}

    def make(address: str, client: str) -> FaultBench:
        if client not in benches:
            benches[client] = FaultBench(address, tmp_path_factory.mktemp("faults") / "clock", client)
        return benches[client]

    yield make
    for bench in benches.values():
        bench.close()
