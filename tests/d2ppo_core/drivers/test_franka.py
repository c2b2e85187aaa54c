"""Arm and hand through the real Franka clients, each against a robot server of its own on loopback."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.drivers.clients import franka_drivers
from d2ppo_core.drivers.franka import FrankaConfig, GripperConfig
from d2ppo_core.drivers.franka_config import has_realtime_kernel
from d2ppo_core.errors import RobotError, RobotUnreachableError
from d2ppo_core.runtime.control.arm import AT_HOME, ArmConfig, ArmController, ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError, TimedChunk
from d2ppo_core.runtime.control.protocols import GripperReading, RobotMode
from d2ppo_core.runtime.safety.cell import load_cell

pytestmark = pytest.mark.timeout(180)
HOME = (0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398)
PERIOD_S = 0.008
HERE = Path(__file__).parent
CONFIG = ArmConfig(
    reference_hz=1 / PERIOD_S,
    chunk_timeout_s=0.6,
    home_q_rad=HOME,
    home_gripper_width_m=0.05,
    cell=load_cell("sim_lift"),
)


class NoGripper:
    """A hand that nobody needs."""

    reading = GripperReading()

    def connect(self) -> None: ...

    def command(self, width_m: float) -> None: ...

    def hold(self) -> None: ...

    def close(self) -> None: ...


class Robot(NamedTuple):
    """A simulated robot, and the client that drives it."""

    client: str
    version: int

    def serve(self, address: str) -> list[str]:
        """The command that serves it."""
        command = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", "--address", address]
        return [*command, "--robot-version", str(self.version)]

    def controller(self, address: str, **changes) -> ArmController:
        """Unconnected."""
        config = FrankaConfig(address=address, client=self.client, **changes)
        return ArmController(*franka_drivers(config, GripperConfig(address=address)), CONFIG)


@pytest.fixture(params=[Robot("franky", 10), Robot("franka_rs", 5)], ids=lambda it: f"{it.client}-{it.version}")
def robot(request: pytest.FixtureRequest) -> Robot:
    return request.param


@pytest.fixture
def server(robot: Robot, robot_address: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(robot.serve(robot_address))
    yield process
    process.terminate()
    process.wait(10)


@pytest.fixture
def arm(server: subprocess.Popen, robot: Robot, robot_address: str) -> Iterator[ArmController]:
    controller = robot.controller(robot_address)
    connect(controller)
    yield controller
    controller.close()


def connect(controller: ArmController, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            controller.connect()
            return
        except RobotUnreachableError:
            controller.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def tick_until(controller: ArmController, done, robot_s: float = np.inf) -> None:
    """Tick until something holds, within so much of the robot's own time, which a busy machine slows down."""
    deadline, begun_ms = time.monotonic() + 30.0, robot_time_ms(controller)
    while not done(controller.report):
        said = f"still {controller.report.mode.name}: {controller.report.reason}"
        assert time.monotonic() < deadline and robot_time_ms(controller) - begun_ms <= 1000 * robot_s, said
        controller.tick(time.monotonic_ns())
        time.sleep(PERIOD_S)


def robot_time_ms(controller: ArmController) -> int:
    """The robot's clock, as far as it is known."""
    reading = controller.report.reading
    return reading.robot_time_ms if reading is not None else 0


def bring_home(controller: ArmController) -> None:
    controller.home()
    tick_until(controller, lambda r: r.mode == ArmMode.READY and r.reason == AT_HOME)


def chunk_to(controller: ArmController, offset_m, **changes) -> TimedChunk:
    """Half a second from where the arm is to an offset, at rest at both ends."""
    reading = controller.report.reading
    assert reading is not None
    s = np.linspace(0, 1, 11)
    blend = s * s * (3 - 2 * s)
    pose = reading.measured.pose
    chunk = TimedChunk(
        stamp_ns=time.monotonic_ns(),
        dt_ns=50_000_000,
        sequence=1,
        epoch=controller.report.epoch,
        bundle_hash="test",
        positions_m=pose[:3, 3] + blend[:, None] * np.asarray(offset_m),
        quats_xyzw=np.tile(Rotation.from_matrix(pose[:3, :3]).as_quat(), (11, 1)),
        twists=np.c_[(6 * s * (1 - s) / 0.5)[:, None] * np.asarray(offset_m), np.zeros((11, 3))],
        gripper_width_m=np.full(11, 0.02),
    )
    return replace(chunk, **changes)


def offer(controller: ArmController, offset_m, **changes) -> TimedChunk:
    """Offer such a chunk, on a busy machine once the robot's newest state is young enough."""
    deadline = time.monotonic() + 30.0
    while True:
        chunk = chunk_to(controller, offset_m, **changes)
        try:
            controller.offer(chunk, time.monotonic_ns())
            return chunk
        except ChunkRefusedError as error:
            if error.reason != "blind" or time.monotonic() > deadline:
                raise
        controller.tick(time.monotonic_ns())


def position(controller: ArmController) -> np.ndarray:
    reading = controller.report.reading
    assert reading is not None
    return reading.measured.pose[:3, 3].copy()


def test_home_start_follow_hold_and_stop(arm: ArmController):
    bring_home(arm)
    np.testing.assert_allclose(arm.report.reading.q_rad, HOME, atol=0.01)
    arm.start()
    start = position(arm)
    chunk = offer(arm, (0.05, 0.02, 0.03))
    arm.tick(time.monotonic_ns())
    assert chunk.stamp_ns < arm.report.chunk_first_command_ns <= time.monotonic_ns(), "the next tick follows it"
    tick_until(arm, lambda r: r.mode == ArmMode.HOLDING)
    tick_until(arm, lambda r: np.abs(r.reading.dq_rad_s).max() < 0.01, robot_s=2.0)
    np.testing.assert_allclose(position(arm) - start, (0.05, 0.02, 0.03), atol=0.004)
    assert "no chunk for 0.6" in arm.report.reason and arm.report.mode == ArmMode.HOLDING
    assert arm._gripper.reading.width_m == pytest.approx(0.02, abs=0.003)
    offer(arm, (0.0, -0.02, 0.0))
    assert arm.report.mode == ArmMode.RUNNING, "a fresh chunk ends the hold"
    arm.stop()
    assert (arm.report.mode, arm.report.reason) == (ArmMode.READY, "stopped by the operator")


def test_the_arm_stays_in_its_workspace_whatever_the_chunk_says(arm: ArmController):
    bring_home(arm)
    arm.start()
    offer(arm, (0.0, 0.0, -0.6))
    tick_until(arm, lambda r: r.mode == ArmMode.HOLDING)
    assert arm.report.safety_interventions > 0
    assert arm.report.reference.pose[2, 3] >= CONFIG.cell.workspace_min_m[2] - 1e-6
    assert arm.report.mode != ArmMode.REFLEX


def test_an_emergency_stop_is_latched_and_starts_a_new_epoch(arm: ArmController):
    bring_home(arm)
    arm.start()
    epoch = arm.report.epoch
    offer(arm, (0.05, 0, 0))
    arm.estop()
    tick_until(arm, lambda r: np.abs(r.reading.dq_rad_s).max() < 0.01, robot_s=5.0)
    assert arm.report.mode == ArmMode.ESTOPPED and arm.report.epoch > epoch
    for call in (arm.home, arm.start, arm.recover):
        with pytest.raises(RobotError, match="the arm is ESTOPPED"):
            call()
    arm.clear_estop()
    assert arm.report.mode == ArmMode.IDLE
    bring_home(arm)


def test_a_robot_that_goes_away_is_noticed_and_can_be_reconnected(arm, server, robot, robot_address):
    bring_home(arm)
    server.kill()
    server.wait(10)
    tick_until(arm, lambda r: r.mode == ArmMode.DISCONNECTED)
    assert robot_address in arm.report.reason
    with pytest.raises(RobotUnreachableError, match=f"no robot answers at {robot_address}"):
        arm.recover()
    with subprocess.Popen(robot.serve(robot_address)) as second:
        try:
            connect(arm)
            bring_home(arm)
        finally:
            arm.close()
            second.terminate()


def test_a_silent_policy_does_not_move_the_arm_although_its_last_chunk_goes_on(arm: ArmController):
    bring_home(arm)
    arm.start()
    start = position(arm)
    offer(arm, (0.0, 0.2, 0.1), dt_ns=400_000_000)
    tick_until(arm, lambda r: r.mode == ArmMode.HOLDING)
    tick_until(arm, lambda r: np.abs(r.reading.dq_rad_s).max() < 0.01, robot_s=2.0)
    rested = position(arm)
    assert np.linalg.norm(rested - start) < 0.06, "four seconds of motion end where the silence is noticed"
    until = time.monotonic() + 1.0
    tick_until(arm, lambda _: time.monotonic() > until)
    np.testing.assert_allclose(position(arm), rested, atol=0.003)


def test_an_emergency_stop_outlives_the_robot_that_it_stopped(arm, server):
    bring_home(arm)
    arm.estop()
    server.kill()
    server.wait(10)
    tick_until(arm, lambda r: "stopped answering" in r.reason)
    assert arm.report.mode == ArmMode.ESTOPPED
    with pytest.raises(RobotError, match="the arm is ESTOPPED"):
        arm.recover()
    arm.clear_estop()
    tick_until(arm, lambda r: r.mode == ArmMode.DISCONNECTED)


def test_an_emergency_stop_is_taken_without_a_connection(arm, server):
    server.kill()
    server.wait(10)
    tick_until(arm, lambda r: r.mode == ArmMode.DISCONNECTED)
    with pytest.raises(RobotUnreachableError):
        arm.recover()
    arm.estop()
    arm.tick(time.monotonic_ns())
    assert arm.report.mode == ArmMode.ESTOPPED


def test_halted_it_stands_until_home_and_an_interrupted_way_home_is_forgotten(arm: ArmController):
    bring_home(arm)
    arm.start()
    offer(arm, (0.0, 0.1, 0.0))
    tick_until(arm, lambda r: r.reading.measured.pose[1, 3] > 0.03)
    arm.home()
    arm.halt("not active any more; call home")
    assert (arm.report.mode, arm.report.reason) == (ArmMode.IDLE, "not active any more; call home")
    tick_until(arm, lambda r: np.abs(r.reading.dq_rad_s).max() < 0.01, robot_s=3.0)
    stopped = position(arm)
    until = time.monotonic() + 1.0
    tick_until(arm, lambda _: time.monotonic() > until)
    np.testing.assert_allclose(position(arm), stopped, atol=0.002)
    bring_home(arm)


def test_after_a_user_stop_the_first_call_of_home_works(robot, robot_address):
    command = [sys.executable, str(HERE / "stoppable_robot.py"), robot_address, str(robot.version)]
    arm = robot.controller(robot_address)
    with subprocess.Popen(command) as process:
        try:
            connect(arm)
            bring_home(arm)
            arm.start()
            process.send_signal(signal.SIGUSR1)
            tick_until(arm, lambda r: r.mode == ArmMode.USER_STOPPED)
            with pytest.raises(RobotError, match="home needs .* the arm is USER_STOPPED"):
                arm.home()
            process.send_signal(signal.SIGUSR2)
            tick_until(arm, lambda r: r.mode == ArmMode.IDLE)
            bring_home(arm)
        finally:
            arm.close()
            process.kill()


def test_when_the_caller_hangs_the_driver_brings_the_arm_to_rest(arm: ArmController):
    bring_home(arm)
    arm.start()
    offer(arm, (0.0, 0.2, 0.1))
    tick_until(arm, lambda r: np.linalg.norm(r.reference.twist[:3]) > 0.2)
    guard = arm._arm._guard
    before = position(arm)
    time.sleep(1.0)
    reading = arm._arm.read()
    assert guard.engaged == 1 and not guard.commanded.twist.any()
    assert np.abs(reading.dq_rad_s).max() < 0.01, "it drifts"
    assert np.linalg.norm(reading.measured.pose[:3, 3] - before) < 0.12
    told = guard.commanded.pose
    arm.tick(time.monotonic_ns())
    np.testing.assert_allclose(arm.report.reference.pose, told, atol=1e-6)
    assert arm.report.mode == ArmMode.HOLDING, "the silence was noticed as well"


def test_a_process_that_is_stopped_leaves_the_robot_at_rest(server, robot, robot_address):
    command = [sys.executable, str(HERE / "moving_client.py"), robot_address, robot.client]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mover:
        try:
            assert mover.stdout.readline() == "moving\n"
            mover.send_signal(signal.SIGSTOP)
            time.sleep(4.0)  # the simulated robot waits for each command before it counts it as lost
            mover.kill()
        finally:
            mover.kill()
    watcher = ArmController(robot.controller(robot_address)._arm, NoGripper(), CONFIG)
    connect(watcher)
    try:
        watcher.tick(time.monotonic_ns())
        assert watcher.report.mode == ArmMode.REFLEX
        assert np.abs(watcher.report.reading.dq_rad_s).max() < 0.01
        watcher.recover()
        tick_until(watcher, lambda r: r.reading.mode == RobotMode.IDLE)
    finally:
        watcher.close()


def test_a_real_time_kernel_that_is_missing_is_said(server, robot, robot_address):
    demanding = robot.controller(robot_address, realtime="enforce")
    if has_realtime_kernel():
        pytest.skip("this kernel is a real-time one")
    with pytest.raises(RobotError, match="^realtime: enforce needs a real-time kernel"):
        connect(demanding)
