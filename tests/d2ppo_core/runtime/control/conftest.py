"""An ideal arm and its controller, on a clock of the test's own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import RobotError
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.arm import AT_HOME, ArmConfig, ArmController, ArmMode
from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.control.protocols import ArmReading, GripperReading, RobotMode
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
        self.config = replace(CONFIG, **changes)
        self.controller = ArmController(self.arm, self.gripper, self.config)
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


@pytest.fixture
def make_bench() -> type[Bench]:
    """Make benches, each with changes of the configuration."""
    return Bench
