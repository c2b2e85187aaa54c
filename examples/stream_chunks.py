"""Stream timed chunks to an arm without ROS: the state machine, the safety filter and the driver in one loop.

d2ppo fci-server                       # in another terminal
python examples/stream_chunks.py
"""

import argparse
import time

import numpy as np

from d2ppo_core.drivers.franka import FrankaArm, FrankaConfig, FrankaGripper, GripperConfig
from d2ppo_core.runtime.control.arm import ArmConfig, ArmController, ArmMode
from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.safety.cell import load_cell

HOME_Q_RAD = (0.0, 0.19635, 0.0, -2.61799, 0.0, 2.5, 0.785398)
PERIOD_NS, REPLAN_TICKS, DT_NS = 8_000_000, 25, 50_000_000
RADIUS_M, TURN_RAD_S = 0.05, 1.5


def circle(report, now_ns: int, begin_ns: int, sequence: int, centre: np.ndarray) -> TimedChunk:  # noqa: ANN001
    """Half a second of a circle in the plane of the table, as a policy would have planned it."""
    phase = TURN_RAD_S * 1e-9 * (now_ns - begin_ns + DT_NS * np.arange(11))
    zero = np.zeros_like(phase)
    way = RADIUS_M * np.stack([np.cos(phase) - 1.0, np.sin(phase), zero], axis=1)
    rate = RADIUS_M * TURN_RAD_S * np.stack([-np.sin(phase), np.cos(phase), zero], axis=1)
    return TimedChunk(
        stamp_ns=now_ns,
        dt_ns=DT_NS,
        sequence=sequence,
        epoch=report.epoch,
        bundle_hash="example",
        positions_m=centre + way,
        quats_xyzw=np.tile([1.0, 0.0, 0.0, 0.0], (11, 1)),
        twists=np.hstack([rate, np.zeros((11, 3))]),
        gripper_width_m=np.full(11, 0.04),
    )


def main() -> None:
    """Go home, follow a circle for a few seconds, stop, and print what the arm says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1", help="of the robot")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the robot's own time")
    options = parser.parse_args()

    config = ArmConfig(
        reference_hz=1e9 / PERIOD_NS, chunk_timeout_s=0.6, home_q_rad=HOME_Q_RAD, home_gripper_width_m=0.04,
        cell=load_cell("sim_lift"),
    )  # fmt: skip
    driver = FrankaArm(FrankaConfig(address=options.address, homing_dynamics=0.1))
    arm = ArmController(driver, FrankaGripper(GripperConfig(address=options.address)), config)
    arm.connect()
    arm.home()
    now_ns = begin_ns = sequence = ticks = 0
    centre, report = np.zeros(3), arm.report
    while begin_ns == 0 or now_ns < begin_ns + options.seconds * 1e9:
        now_ns = driver.read().robot_time_ms * 1_000_000  # the robot's clock: a slow simulation is no lost tick
        report = arm.tick(now_ns)
        if begin_ns == 0 and report.mode == ArmMode.READY:
            arm.start()
            begin_ns, centre = now_ns, report.reference.pose[:3, 3].copy()
        if begin_ns and ticks % REPLAN_TICKS == 0:
            arm.offer(circle(report, now_ns, begin_ns, sequence, centre), now_ns)
            sequence += 1
        ticks += 1
        time.sleep(PERIOD_NS * 1e-9)
    print(f"{report.mode.name}: {report.chunks_accepted} chunks followed, {report.chunks_refused} refused")
    print(f"the safety filter changed {report.safety_interventions} commands: {report.safety_counts}")
    arm.halt("the example is over")
    arm.close()


if __name__ == "__main__":
    main()
