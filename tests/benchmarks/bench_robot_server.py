"""How much of each millisecond does the simulated robot need, and how well is a moving target tracked through it?

Real franky client in a second process, CartesianImpedanceTracker fed at 125 Hz with pose and twist on the robot's
clock; figure of up to 0.27 m/s around the start. Device: CPU, two cores free. Warm-up 1 s of the figure.
Budget: 150 us in Python and MuJoCo per cycle in the mean, real-time factor >= 0.98. The kernel's share (two packets and
two waits a cycle) is shown apart, and so is the wall time, which grows with what else the machine does. Prints JSON.

    python tests/benchmarks/bench_robot_server.py --stiffness 1500 60
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
import time

import numpy as np

from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import RobotServer
from sim.tasks import task_named
from sim.world import World

BUDGET_MEAN_US = 150.0
FREQUENCY_HZ = 0.35


class TimedServer(RobotServer):
    """Notes the time from the end of one wait to the begin of the next."""

    def __init__(self, world: World, address: str) -> None:
        super().__init__(world, address, gripper=GripperServer(world, address))
        self.busy_s: list[float] = []
        self._left = time.perf_counter()

    def _wait(self, deadline: float) -> bool:
        self.busy_s.append(time.perf_counter() - self._left)
        answered = super()._wait(deadline)
        self._left = time.perf_counter()
        return answered


def figure(t: float) -> tuple[np.ndarray, np.ndarray]:
    """Offset (3,) m and velocity (3,) m/s of the target, starting from rest."""
    w, ramp = 2 * np.pi * FREQUENCY_HZ, min(t, 1.0)
    shape = np.array([0.05 * np.sin(w * t), 0.08 * (1 - np.cos(w * t)), 0.04 + 0.02 * (1 - np.cos(2 * w * t))])
    rate = w * np.array([0.05 * np.cos(w * t), 0.08 * np.sin(w * t), 0.04 * np.sin(2 * w * t)])
    return ramp * shape, ramp * rate + (t < 1.0) * shape


def track(address: str, duration_s: float, stiffness_n_m: float, stiffness_nm_rad: float) -> dict[str, float]:
    """Client: follow the figure, return errors of position (mm) and rotation (deg) and the tick period (ms)."""
    import franky
    from scipy.spatial.transform import Rotation

    robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
    start = robot.current_pose.end_effector_pose
    upright = Rotation.from_quat(start.quaternion)
    posture = franky.PostureTask(robot.state.q, 5.0)
    error_mm, error_deg, ticks_s = [], [], []
    tracker = franky.CartesianImpedanceTracker(
        robot,
        translational_stiffness=stiffness_n_m,
        rotational_stiffness=stiffness_nm_rad,
        posture_task=posture,
        period=0.008,
    )
    began_ms, wall_s = robot.state.time.to_msec(), time.perf_counter()
    with tracker:
        while (dt := tracker.tick()) is not None:
            state = robot.state
            t = (state.time.to_msec() - began_ms) * 1e-3
            if t > duration_s:
                break
            offset, velocity = figure(t)
            target = franky.Affine(start.translation + offset, start.quaternion)
            tracker.set_target(target, franky.Twist(velocity, np.zeros(3)))
            if t > 1.0:
                error_mm.append(1e3 * np.linalg.norm(state.O_T_EE.translation - target.translation))
                turned = Rotation.from_quat(state.O_T_EE.quaternion) * upright.inv()
                error_deg.append(np.degrees(turned.magnitude()))
                ticks_s.append(dt)
        factor = duration_s / (time.perf_counter() - wall_s)
    return {
        "real_time_factor": factor,
        "position_rms_mm": float(np.sqrt(np.mean(np.square(error_mm)))),
        "position_max_mm": float(np.max(error_mm)),
        "rotation_rms_deg": float(np.sqrt(np.mean(np.square(error_deg)))),
        "tick_p99_ms": float(1e3 * np.percentile(ticks_s, 99)),
    }


def serve(address: str, client: subprocess.Popen[str], warm_up_s: float) -> dict[str, float]:
    """Run the world until the client is done; what a cycle cost, us."""
    server = TimedServer(World(task_named("lift")), address)
    gc.collect()
    gc.freeze()
    before = resource.getrusage(resource.RUSAGE_THREAD)
    while client.poll() is None:
        server.run_cycle()
    after, cycles = resource.getrusage(resource.RUSAGE_THREAD), len(server.busy_s)
    server.close()
    busy_us = 1e6 * np.array(server.busy_s[round(1e3 * warm_up_s) :])
    p50, p99 = np.percentile(busy_us, (50, 99))
    return {
        "user_mean": 1e6 * (after.ru_utime - before.ru_utime) / cycles,
        "system_mean": 1e6 * (after.ru_stime - before.ru_stime) / cycles,
        "wall_mean": float(busy_us.mean()),
        "wall_p50": float(p50),
        "wall_p99": float(p99),
    }


def main() -> int:
    """Serve here, track in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.19")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--stiffness", type=float, nargs=2, default=(600.0, 40.0), help="N/m and Nm/rad")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        time.sleep(1.0)
        print(json.dumps(track(options.address, options.seconds, *options.stiffness)))
        return 0
    command = [sys.executable, __file__, "--client", "--address", options.address, "--seconds", str(options.seconds)]
    command += ["--stiffness", *map(str, options.stiffness)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    cycle_us = serve(options.address, client, warm_up_s=2.0)
    tracking = json.loads(client.communicate()[0])
    within = cycle_us["user_mean"] <= BUDGET_MEAN_US and tracking["real_time_factor"] >= 0.98
    result = {"stiffness": list(options.stiffness), "cycle_us": cycle_us, "tracking": tracking, "within_budget": within}
    print(json.dumps(result, indent=2))
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
