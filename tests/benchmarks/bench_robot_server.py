"""How much of each millisecond does the simulated robot need, and how well is a moving target tracked through it?

Real franky client in a second process, CartesianImpedanceTracker fed at 125 Hz with pose and twist on the robot's
clock; figure of up to 0.27 m/s around the start. Device: CPU, two cores free. Warm-up 1 s of the figure.
Budget: 150 us in Python and MuJoCo per cycle in the mean, real-time factor >= 0.98. The kernel's share (two packets and
two waits a cycle) is shown apart, and so is the wall time, which grows with what else the machine does. Prints JSON.

    python tests/benchmarks/bench_robot_server.py --stiffness 1500 60

With --rate: how many states per second when nobody paces? A joint motion of franky's against both backends, served by
processes of their own, in turns. Budget: 4000 states/s with physics. Warm-up: one motion each. The CPU times of server
and client are shown beside it: the wall time is theirs and two wake-ups, less what the server does while the client
thinks; the server's contains up to 0.2 ms of looking for the command.

    python tests/benchmarks/bench_robot_server.py --rate

With --paced: does a server that waits for nobody keep 1 kHz? Time between the states it sends to a franky client that
holds a torque-controlled pose. Budget: 1 kHz +-0.5 %, 99 % of the periods within 0.5 ms of a millisecond. Warm-up 1 s.

    python tests/benchmarks/bench_robot_server.py --paced
"""

import argparse
import contextlib
import functools
import gc
import ipaddress
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import psutil

from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import RobotServer
from sim.tasks import task_named
from sim.world.world import World

BUDGET_MEAN_US = 150.0
FREQUENCY_HZ = 0.35
BACKENDS = ("mujoco", "kinematic")
RATE_BUDGET_HZ = 4000.0
PACE_BUDGET, PERIOD_BUDGET_MS = 5e-3, 0.5


class TimedServer(RobotServer):
    """Notes the time from the end of one wait to the begin of the next, and when states went out."""

    def __init__(self, world: World, address: str, *, lockstep: bool = True) -> None:
        super().__init__(world, address, gripper=GripperServer(world, address), lockstep=lockstep)
        self.busy_s: list[float] = []
        self.sent_s: list[float] = []
        self._left = time.perf_counter()

    def _send_state(self) -> bool:
        self.sent_s.append(time.perf_counter())
        return super()._send_state()

    def _wait(self, deadline: float, sent: bool) -> bool:
        self.busy_s.append(time.perf_counter() - self._left)
        answered = super()._wait(deadline, sent)
        self._left = time.perf_counter()
        return answered


def figure(t: float) -> tuple[np.ndarray, np.ndarray]:
    """Offset (3,) m and velocity (3,) m/s of the target, starting from rest."""
    w, ramp = 2 * np.pi * FREQUENCY_HZ, min(t, 1.0)
    shape = np.array([0.05 * np.sin(w * t), 0.08 * (1 - np.cos(w * t)), 0.04 + 0.02 * (1 - np.cos(2 * w * t))])
    rate = w * np.array([0.05 * np.cos(w * t), 0.08 * np.sin(w * t), 0.04 * np.sin(2 * w * t)])
    return ramp * shape, ramp * rate + (t < 1.0) * shape


def track(address: str, duration_s: float, stiffness: tuple[float, float]) -> dict[str, float]:
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
        translational_stiffness=stiffness[0],
        rotational_stiffness=stiffness[1],
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


def rates(address: str, rounds: int = 5) -> dict[str, dict[str, float]]:
    """States per second (median, lowest, highest of `rounds`) of each backend, as fast as the client answers."""
    import franky

    robots, servers, measured = {}, {}, {name: [] for name in BACKENDS}
    with contextlib.ExitStack() as stack:
        for offset, backend in enumerate(BACKENDS):
            host = str(ipaddress.IPv4Address(address) + offset)
            command = [
                sys.executable,
                "-m",
                "d2ppo_core.cli.main",
                "fci-server",
                "--address",
                host,
                "--backend",
                backend,
                "--no-real-time",
            ]
            server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(server.terminate)
            server.stdout.readline()
            servers[backend] = psutil.Process(server.pid)
            robots[backend] = franky.Robot(host, realtime_config=franky.RealtimeConfig.Ignore)
            robots[backend].relative_dynamics_factor = 0.05
        for number in range(-1, rounds):  # the first is the warm-up
            for backend, robot in robots.items():
                q, began_ms = np.array(robot.state.q), robot.state.time.to_msec()
                wall_s, cpu_s = time.perf_counter(), sum(servers[backend].cpu_times()[:2])
                client_s = time.process_time()
                robot.move(franky.JointMotion(q + (0.3 if number % 2 else -0.3) * np.eye(7)[0]))
                states, wall_s = robot.state.time.to_msec() - began_ms, time.perf_counter() - wall_s
                cpu_s, client_s = sum(servers[backend].cpu_times()[:2]) - cpu_s, time.process_time() - client_s
                measured[backend].append((states / wall_s, 1e6 * cpu_s / states, 1e6 * client_s / states))
    result = {}
    for backend, values in measured.items():
        per_s, cpu_us, client_us = np.array(values[1:]).T
        result[backend] = {"p50": float(np.median(per_s)), "min": float(per_s.min()), "max": float(per_s.max())}
        result[backend]["server_cpu_us_per_state"] = float(np.median(cpu_us))
        result[backend]["client_cpu_us_per_state"] = float(np.median(client_us))
    return result


def pace(address: str, client: subprocess.Popen[str], warm_up_s: float) -> dict[str, float]:
    """Run a world that waits for nobody until the client is done; how evenly its states went out."""
    server = TimedServer(World(task_named("lift")), address, lockstep=False)
    gc.collect()
    gc.freeze()
    while client.poll() is None:
        server.run_cycle()
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    server.close()
    sent_s = np.array(server.sent_s[round(1e3 * warm_up_s) :])
    error_ms = np.abs(1e3 * np.diff(sent_s) - 1.0)
    p50, p99 = np.percentile(error_ms, (50, 99))
    return {
        "rate_hz": float((len(sent_s) - 1) / (sent_s[-1] - sent_s[0])),
        "period_error_p50_ms": float(p50),
        "period_error_p99_ms": float(p99),
        "period_error_max_ms": float(error_ms.max()),
        "commands_lost": server.statistics.commands_lost,
        "server_cpu_us_per_state": 1e6 * (usage.ru_utime + usage.ru_stime) / len(server.sent_s),
    }


def hold(address: str, duration_s: float) -> dict[str, str]:
    """Client: hold the pose by torques; tells whether the robot let it to the end."""
    import franky

    robot = franky.Robot(address, realtime_config=franky.RealtimeConfig.Ignore)
    try:
        with franky.CartesianImpedanceTracker(robot, translational_stiffness=600.0):
            time.sleep(duration_s)
    except franky.ControlException as error:
        return {"ended_by": str(error)}
    return {"ended_by": ""}


def main() -> int:
    """Serve here, track in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.19")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--stiffness", type=float, nargs=2, default=(600.0, 40.0), help="N/m and Nm/rad")
    parser.add_argument("--rate", action="store_true", help="states per second instead")
    parser.add_argument("--paced", action="store_true", help="evenness of the paced states instead")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        time.sleep(1.0)
        work = hold if options.paced else functools.partial(track, stiffness=tuple(options.stiffness))
        print(json.dumps(work(options.address, options.seconds)))
        return 0
    if options.rate:
        result = rates(options.address)
        within = result["mujoco"]["p50"] >= RATE_BUDGET_HZ
        return report({"states_per_s": result}, within)
    command = [sys.executable, __file__, "--client", "--address", options.address, "--seconds", str(options.seconds)]
    command += ["--stiffness", *map(str, options.stiffness)] + ["--paced"] * options.paced
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if options.paced:
        states = pace(options.address, client, warm_up_s=1.0)
        held = json.loads(client.communicate()[0])
        within = abs(states["rate_hz"] - 1e3) <= 1e3 * PACE_BUDGET
        return report({"states": states, **held}, within and states["period_error_p99_ms"] <= PERIOD_BUDGET_MS)
    cycle_us = serve(options.address, client, warm_up_s=2.0)
    tracking = json.loads(client.communicate()[0])
    within = cycle_us["user_mean"] <= BUDGET_MEAN_US and tracking["real_time_factor"] >= 0.98
    return report({"stiffness": list(options.stiffness), "cycle_us": cycle_us, "tracking": tracking}, within)


def report(result: dict[str, object], within: bool) -> int:
    """Print it; the exit code tells whether it is within the budget."""
    print(json.dumps({**result, "load_average": os.getloadavg()[0], "within_budget": within}, indent=2))
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
