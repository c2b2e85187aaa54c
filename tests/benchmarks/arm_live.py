"""A live arm node, driven over its topics as a policy and an operator would, for bench_arm.py."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from arm_chunks import FAST_M_S, Noise, NoisyPolicy, periods
from arm_figures import WARM_UP_S, joint_shares, motion_figures, pace, quantiles, slowing, standstill, torque_stop
from arm_robot import RecordedRobot
from builtin_interfaces.msg import Time
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.inference.osc import Targets
from d2ppo_core.stack.environment import DEFAULTS
from d2ppo_interfaces.msg import ActionChunk, ArmState
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.convert import fill_targets, time_msg, transform_of, twist_of
from d2ppo_nodes.qos import NEWEST
from sim.fci.wire import PROTOCOLS

NAMESPACE = "/bench_arm"
FRAME = "panda_link0"
_AFTER_STOP_MS = 1500
_HOME_S = 120.0
_TRACKING = (ArmState.READY, ArmState.RUNNING, ArmState.HOLDING)


class LiveArm:
    """A recorded robot, the arm node, and a client of it; a context manager.

    The node's clock is the wall's, as with a real robot, or with `sim_time` the robot's.
    """

    def __init__(self, options: argparse.Namespace, path: Path, *, sim_time: bool) -> None:
        """Start everything; the arm is idle then."""
        os.environ.update({name: value for name, value in DEFAULTS.items() if name not in os.environ})
        address, domain_id = options.address, options.domain_id
        os.environ["ROS_DOMAIN_ID"] = str(domain_id)
        self._sim_time = sim_time
        self.robot = RecordedRobot(address, path, real_time=True, ros_clock=sim_time, version=options.robot_version)
        parameters = {
            "robot_address": address,
            "client": options.client,
            "connect_timeout_s": 60.0,
            "use_sim_time": str(sim_time).lower(),
            "homing_dynamics": 0.3,
            "recovery_dynamics": 1.0,  # as fast after a stop as ever: only the stop is of interest
        }
        command = [sys.executable, "-m", "d2ppo_nodes.arm_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self._node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = StackClient(NAMESPACE, domain_id)
        self._chunks = self.client._node.create_publisher(ActionChunk, "policy/chunk", NEWEST)
        try:
            self.client.spin_until(self._is_ready, 90.0, "the node")
            self.client.spin_until(self._chunks.get_subscription_count, 10.0, "the node's subscription")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "LiveArm":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self.client.close()
        self._node.terminate()
        self._node.wait(20)
        self.robot.end()

    def _is_ready(self) -> bool:
        """Whether the node is connected and hears the clock: its stamps are 0 before."""
        arm = self.client.arm
        return arm is not None and arm.state == ArmState.IDLE and arm.header.stamp != Time()

    @property
    def arm(self) -> ArmState:
        """The newest state."""
        return self.client.arm

    @property
    def speed_m_s(self) -> float:
        """Of the reference."""
        return float(np.linalg.norm(twist_of(self.arm.reference_twist)[:3]))

    def spin(self, timeout_s: float = 0.005) -> None:
        """Take what arrives."""
        self.client._executor.spin_once(timeout_sec=timeout_s)

    def now_ns(self) -> int:
        """The node's time."""
        return self.client.now_ns() if self._sim_time else time.time_ns()

    def reach(self, state: int, what: str) -> None:
        """Wait for a state."""
        self.client.spin_until(lambda: self.arm.state == state, _HOME_S, what)

    def begin(self) -> np.ndarray:
        """Go home and follow chunks from now on; returns the 4×4 reference pose there."""
        self.client.trigger("arm/home")
        self.reach(ArmState.READY, "home")
        self.client.trigger("arm/start")
        # a world that runs ahead of the wall clock may hold again before anybody looks
        self.client.spin_until(lambda: self.arm.state in _TRACKING[1:], _HOME_S, "start")
        return transform_of(self.arm.reference_pose)

    def follow(self, policy: NoisyPolicy, waits: Iterator[float], done: Callable[[float], bool]) -> float:
        """Publish the policy's chunks until `done(seconds)` or the arm tracks no more; returns the seconds."""
        began_ns, next_s = self.now_ns(), 0.0
        while True:
            now_ns = self.now_ns()
            time_s = 1e-9 * (now_ns - began_ns)
            if done(time_s) or self.arm.state not in _TRACKING:
                return time_s
            if time_s >= next_s:
                self._chunks.publish(message_of(policy.chunk(time_s, now_ns, self.arm.epoch)))
                next_s += next(waits)
            self.spin()


def message_of(chunk: TimedChunk) -> ActionChunk:
    """A chunk as it travels."""
    message = ActionChunk(epoch=chunk.epoch, sequence=chunk.sequence, bundle_hash=chunk.bundle_hash)
    message.header.stamp, message.header.frame_id = time_msg(chunk.stamp_ns), FRAME
    poses = np.tile(np.eye(4), (len(chunk.positions_m), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = Rotation.from_quat(chunk.quats_xyzw).as_matrix(), chunk.positions_m
    states = tuple(RigidState(pose, twist) for pose, twist in zip(poses, chunk.twists, strict=True))
    fill_targets(message, Targets(states, chunk.gripper_width_m, 1e-9 * chunk.dt_ns))
    return message


def estop(options: argparse.Namespace, path: Path) -> dict:
    """Emergency stops of a moving arm, by the robot's record; times from the publication of the message."""
    rng = np.random.default_rng(options.seed)
    published_ns: list[int] = []
    seen_ms: list[float] = []
    with LiveArm(options, path, sim_time=True) as live:
        for _ in range(options.repetitions):
            policy, alive_s = NoisyPolicy(live.begin(), Noise(), rng), rng.uniform(3.0, 4.0)

            def at_speed(time_s: float, alive_s: float = alive_s) -> bool:
                return time_s > alive_s and live.speed_m_s > FAST_M_S

            live.follow(policy, periods("random", rng), at_speed)
            published_ns.append(time.monotonic_ns())
            live.client.publish_estop(True)
            live.reach(ArmState.ESTOPPED, "the emergency stop")
            seen_ms.append(1e-6 * (time.monotonic_ns() - published_ns[-1]))
            until_ms = live.arm.robot_time_ms + _AFTER_STOP_MS
            live.client.spin_until(lambda until_ms=until_ms: live.arm.robot_time_ms > until_ms, _HOME_S, "standstill")
            live.client.publish_estop(False)
            live.client.trigger("arm/clear_estop")
            live.reach(ArmState.IDLE, "clear_estop")
    record = live.robot.record()
    stops = [stop_figures(record, each_ns, options) for each_ns in published_ns]
    worst = {name: max(stop[name] for stop in stops) for name in stops[0] if name.startswith("worst_joint")}
    rest = {name: quantiles([stop[name] for stop in stops], 3) for name in stops[0] if name not in worst}
    return {"repetitions": len(stops), **rest, "publication_to_state_seen_wall_ms": quantiles(seen_ms), **worst}


def stop_figures(record: np.ndarray, published_ns: int, options: argparse.Namespace) -> dict[str, float]:
    """One stop: row 0 is the first whose command arrived after the publication; shares of limits while torques are."""
    first = int(np.searchsorted(record["wall_ns"], published_ns))
    rows = record[first : first + _AFTER_STOP_MS]
    rest, slower, ended = standstill(rows), slowing(rows), int(np.argmin(rows["moving"]))
    position = rows["pose"][:, :, 3].astype(float)
    wall_ms = 1e-6 * (rows["wall_ns"] - published_ns)
    figures = {"speed_m_s": 1e3 * float(np.linalg.norm(position[1] - position[0]))}
    if options.client == "franky":  # the law of franka_rs cannot be told from its tracking
        number = PROTOCOLS[options.robot_version].state["tau_J_d"].base
        law = torque_stop(record[first - 2 : first + _AFTER_STOP_MS], number) - 2
        figures |= {
            "publication_to_stop_law_wall_ms": float(wall_ms[law]),
            "publication_to_stop_law_robot_ms": float(law),
        }
    return figures | {
        "publication_to_slowing_robot_ms": float(slower),
        "publication_to_standstill_robot_ms": float(rest),
        "publication_to_standstill_wall_ms": float(wall_ms[rest]),
        "publication_to_motion_finished_robot_ms": float(ended),
        "way_mm": 1e3 * float(np.linalg.norm(position[rest] - position[0])),
        **joint_shares(rows[:ended]),
    }


def stream(options: argparse.Namespace, path: Path) -> dict:
    """Noisy chunks for minutes of the robot's time, through the node on simulated time."""
    rng = np.random.default_rng(options.seed)
    states: list[tuple[int, int, np.ndarray]] = []

    def keep(message: ArmState) -> None:
        states.append((message.robot_time_ms, time.monotonic_ns(), transform_of(message.reference_pose)))

    with LiveArm(options, path, sim_time=True) as live:
        policy = NoisyPolicy(live.begin(), Noise.of(options), rng)
        first = live.arm
        live.client.on_arm = keep
        wall_s, end_s = time.perf_counter(), 60.0 * options.minutes + WARM_UP_S
        live.follow(policy, periods(options.rate, rng), lambda time_s: time_s > end_s)
        wall_s, arm = time.perf_counter() - wall_s, live.arm
    at_ms, wall_ns = np.array([state[0] for state in states]), np.array([state[1] for state in states])
    simulated_s = 1e-3 * (at_ms[-1] - at_ms[0])
    lost = arm.ticks - first.ticks - len(states)
    return {
        "simulated_s": round(simulated_s, 1),
        "real_time_factor": round(simulated_s / wall_s, 3),
        "reflexes": int(arm.state not in _TRACKING),
        "ended_by": arm.reason,
        "chunks_accepted": arm.chunks_accepted - first.chunks_accepted,
        "chunks_refused": dict(zip(arm.refusal_reasons, arm.refusal_counts, strict=True)),
        "missed_ticks": arm.missed_ticks - first.missed_ticks,
        "safety_interventions": arm.safety_interventions - first.safety_interventions,
        "states_lost_on_the_way_here": lost,
        **motion_figures(live.robot.record(), int(at_ms[0]), at_ms, np.array([state[2] for state in states])),
        "references": pace(at_ms, wall_ns),
    }
