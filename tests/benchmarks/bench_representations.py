"""Question: what does deployment make of a demonstration's motion, by the representation of its actions and by gains?

Replays demonstrations of Lift open-loop through the deployed chain: a chunk every four control ticks, its targets by
the training controller's law from where the arm is commanded to be, followed at 125 Hz after a latency, tracked by the
impedance controller of the arm node (stated gains, 1 kHz) in the world with the Franka-identified arm. Nobody looks:
what goes wrong stays wrong. Reports, against the motion of the hand in the demonstration, the r.m.s. and largest error
of targets and arm, the lag (shift in time that fits best, and the error left then), and how many cubes are lifted.

Gains: `node` is what the arm node is started with. `matched` is the training controller's kp of 150 1/s² times the
effective mass along each axis, with its damping; `isotropic` the same for one mass of 4 kg and 0.15 kg m²; `stiff` is
three times the node's stiffness. The rows `goals` give the arm the training controller's goals themselves, once per
tick and without its law, which the gains then have to stand for: `unlimited` lifts the limit of force.

    python tests/benchmarks/bench_representations.py [--data data/lift_state.hdf5] [--episodes 10] [--out file.json]
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import rotations_from_6d
from d2ppo_core.bundle import ActionSpec
from d2ppo_core.config import DataConfig, DeployConfig
from d2ppo_core.data.episodes import Episode, EpisodeReader
from d2ppo_core.data.representation import actions_of
from d2ppo_core.drivers.franka import FrankaConfig
from d2ppo_core.geometry import RigidState, inverse, transform_from
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA
from d2ppo_core.runtime.control.blend import BlendLimits
from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.control.reference import ReferenceGenerator
from d2ppo_core.runtime.inference.osc import Targets, leashed, targets_from_deltas, targets_from_goals
from sim.assets.saved import load_physics_model
from sim.tasks import task_named
from sim.world.world import World

TICK_MS, CHUNK_TICKS, SETTLE_TICKS, REFERENCE_MS, REST_MS = 50, 4, 8, 8, 500
LATENCY_MS, MAX_LEAD = 15, (0.02, 0.15)
DEPLOY, NODE = DeployConfig(), FrankaConfig(address="")
SPECS = {
    OSC_DELTA: ActionSpec(coupling=DEPLOY.osc_coupling),
    EE_ABSOLUTE: ActionSpec(representation=EE_ABSOLUTE, frame="world", dim=10, coupling=DEPLOY.osc_coupling),
}
T_WORLD_BASE = transform_from(DEPLOY.base_position_m, Rotation.identity())
T_EE_SITE = transform_from(DEPLOY.ee_site_offset_m, Rotation.identity())


@dataclass(frozen=True)
class Gains:
    """Diagonal impedance: N/m and Nm/rad, Ns/m and Nms/rad, each (6,); greatest force and torque of the spring."""

    stiffness: np.ndarray
    damping: np.ndarray
    most: tuple[float, float] = (NODE.max_force_n, NODE.max_torque_nm)

    @classmethod
    def critical(cls, stiffness: np.ndarray, mass: np.ndarray) -> "Gains":
        """Critically damped for these masses (6,)."""
        return cls(stiffness, 2.0 * np.sqrt(stiffness * mass))


class Arm:
    """The deployed world and the tracking controller in it."""

    def __init__(self, qpos: dict[str, np.ndarray], gains: Gains) -> None:
        self.world, self.gains = World(task_named("lift")), gains
        world, data = self.world, self.world.data
        data.joint("cube_joint0").qpos[:] = qpos["cube_joint0"]
        world.place_arm(np.array([qpos[f"robot0_joint{i}"][0] for i in range(1, 8)]), task_named("lift").start_width_m)
        self._site, self._rest_q = world.model.site("O_T_EE").id, world.q_rad.copy()
        self._jacobian, self._width_m = np.zeros((2, 3, world.model.nv)), -1.0
        self.state = RigidState(world.ee_pose(), np.zeros(6))

    def jacobian(self) -> np.ndarray:
        """(6, 7) of the end effector."""
        mujoco.mj_jacSite(self.world.model, self.world.data, *self._jacobian, self._site)
        return self._jacobian.reshape(6, -1)[:, :7]

    def effective_mass(self) -> np.ndarray:
        """(6,) kg and kg m² that the hand presents along each axis, translation and rotation each by itself."""
        model, full = self.world.model, np.zeros((self.world.model.nv,) * 2)
        mujoco.mj_fullM(model, full, self.world.data.qM)
        mobility = self.jacobian() @ np.linalg.solve(full[:7, :7], self.jacobian().T)
        return np.concatenate([np.diag(np.linalg.inv(mobility[i : i + 3, i : i + 3])) for i in (0, 3)])

    def step(self, reference: RigidState, width_m: float) -> None:
        """A millisecond of J^T (K clipped error + D velocity error), posture and Coriolis torques."""
        world, data, jacobian = self.world, self.world.data, self.jacobian()
        if width_m != self._width_m:
            world.fingers.command(width_m, 0.1, 30.0)
            self._width_m = width_m
        twist = jacobian @ world.dq_rad_s
        pose = world.ee_pose()
        turn = Rotation.from_matrix(reference.pose[:3, :3] @ pose[:3, :3].T).as_rotvec()
        most = np.repeat(self.gains.most, 3)
        error = np.concatenate([reference.pose[:3, 3] - pose[:3, 3], turn])
        wrench = (self.gains.stiffness * error).clip(-most, most) + self.gains.damping * (reference.twist - twist)
        stiff = NODE.posture_stiffness_nm_rad
        posture = stiff * (self._rest_q - world.q_rad) - 2 * np.sqrt(stiff) * world.dq_rad_s
        posture -= jacobian.T @ np.linalg.lstsq(jacobian.T, posture, rcond=None)[0]
        coriolis = data.qfrc_bias[:7] - data.qfrc_gravcomp[:7]
        world.step(jacobian.T @ wrench + posture + coriolis)
        self.state = RigidState(world.ee_pose(), self.jacobian() @ world.dq_rad_s)


def targets_of(representation: str, actions: np.ndarray, start: RigidState) -> Targets:
    """As the planner."""
    spec = SPECS[representation]
    if representation == EE_ABSOLUTE:
        return targets_from_goals(actions, start, spec, T_WORLD_BASE, T_EE_SITE, SETTLE_TICKS)
    return targets_from_deltas(actions, start, spec, T_EE_SITE, SETTLE_TICKS)


def timed(targets: Targets, stamp_ns: int) -> TimedChunk:
    """As the policy node and the arm node."""
    poses = np.array([state.pose for state in targets.states])
    return TimedChunk(
        stamp_ns=stamp_ns,
        dt_ns=TICK_MS * 1_000_000,
        sequence=0,
        epoch=0,
        bundle_hash="",
        positions_m=poses[:, :3, 3],
        quats_xyzw=Rotation.from_matrix(poses[:, :3, :3]).as_quat(),
        twists=np.array([state.twist for state in targets.states]),
        gripper_width_m=targets.gripper_width_m,
    )


def replay(arm: Arm, representation: str, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 3) of the commanded and the achieved grip site at each millisecond, world frame."""
    generator, chunk, coming = ReferenceGenerator(arm.state.pose, BlendLimits()), None, None
    commanded, achieved, reference = [], [], arm.state
    for ms in range(len(actions) * TICK_MS + REST_MS):
        tick, phase = divmod(ms, TICK_MS)
        if phase == 0 and tick % CHUNK_TICKS == 0 and tick < len(actions):
            start = leashed(reference, arm.state, *MAX_LEAD)
            coming = timed(targets_of(representation, actions[tick : tick + CHUNK_TICKS], start), ms * 1_000_000)
        if coming is not None and ms * 1_000_000 >= coming.stamp_ns + LATENCY_MS * 1_000_000:
            generator.follow(coming, ms * 1_000_000)
            chunk, coming = coming, None
        if ms % REFERENCE_MS == 0:
            reference = generator.sample(ms * 1_000_000)
        commanded.append(site(reference.pose))
        achieved.append(site(arm.state.pose))
        arm.step(reference, 0.04 if chunk is None else width_at(chunk, ms))
    return np.array(commanded), np.array(achieved)


def follow_goals(arm: Arm, goals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `replay`, with the goals themselves as references, one per control tick."""
    rotations, _ = rotations_from_6d(goals[:, 3:9])
    commanded, achieved = [], []
    for ms in range(len(goals) * TICK_MS + REST_MS):
        tick = min(ms // TICK_MS, len(goals) - 1)
        pose = transform_from(goals[tick, :3], Rotation.from_matrix(rotations[tick]))
        reference = RigidState(inverse(T_WORLD_BASE) @ pose @ inverse(T_EE_SITE), np.zeros(6))
        commanded.append(goals[tick, :3])
        achieved.append(site(arm.state.pose))
        arm.step(reference, 0.0 if goals[tick, 9] > 0 else 0.08)
    return np.array(commanded), np.array(achieved)


def site(pose: np.ndarray) -> np.ndarray:
    """Grip site in the world, of the end effector in the base frame."""
    return (T_WORLD_BASE @ pose @ T_EE_SITE)[:3, 3]


def width_at(chunk: TimedChunk, ms: int) -> float:
    """As the arm's state machine."""
    index = (ms * 1_000_000 - chunk.stamp_ns) // chunk.dt_ns
    return float(chunk.gripper_width_m[min(index, len(chunk.gripper_width_m) - 1)])


def errors(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distance in mm at each tick of the demonstration."""
    return 1e3 * np.linalg.norm(found[: len(wanted) * TICK_MS : TICK_MS] - wanted, axis=1)


def lag_ms(achieved: np.ndarray, wanted: np.ndarray) -> tuple[int, np.ndarray]:
    """Shift that fits best, and the errors left then."""
    shifts = range(0, 200, 2)
    left = [errors(achieved[shift:], wanted) for shift in shifts]
    best = int(np.argmin([np.mean(e**2) for e in left]))
    return shifts[best], left[best]


def cases_of(mass: np.ndarray) -> dict[tuple[str, str], Gains]:
    """Representations (or bare goals) and gains to compare, for an arm of this effective mass (6,)."""
    one, unit = (
        np.repeat([NODE.effective_mass_kg, 0.15], 3),
        np.repeat([NODE.effective_mass_kg, NODE.effective_inertia_kg_m2], 3),
    )
    node = Gains.critical(np.repeat([NODE.stiffness_n_m, NODE.stiffness_nm_rad], 3), unit)
    matched = Gains.critical(150.0 * mass, mass)
    return {
        (OSC_DELTA, "node"): node,
        (EE_ABSOLUTE, "node"): node,
        (EE_ABSOLUTE, "matched"): matched,
        (EE_ABSOLUTE, "isotropic"): Gains.critical(150.0 * one, one),
        (EE_ABSOLUTE, "stiff"): Gains.critical(3.0 * node.stiffness, unit),
        ("goals", "matched"): matched,
        ("goals", "matched, unlimited"): replace(matched, most=(1e3, 1e3)),
        ("goals", "node"): node,
    }


def measure(path: Path, count: int) -> dict:
    model, config = load_physics_model("lift"), DataConfig(action_target="executed")
    with EpisodeReader(path) as reader:
        episodes = [reader.read(name) for name in reader.names[:count]]
    mass = Arm(start_of(episodes[0], model), Gains(np.zeros(6), np.zeros(6))).effective_mass()
    result: dict = {"effective_mass_kg_kgm2": mass.round(3).tolist(), "matched": (150.0 * mass).round(1).tolist()}
    for (what, name), gains in cases_of(mass).items():
        rows = []
        for episode in episodes:
            arm = Arm(start_of(episode, model), gains)
            representation = OSC_DELTA if what == OSC_DELTA else EE_ABSOLUTE
            actions = actions_of(episode, replace(config, action_representation=representation))
            moved = follow_goals(arm, actions) if what == "goals" else replay(arm, representation, actions)
            rows.append((*moved, episode.observations["robot0_eef_pos"], arm.world.is_success()))
        result[f"{what}, {name}"] = summary(rows)
        print(f"{what}, {name}", json.dumps(result[f"{what}, {name}"]), flush=True)
    return result


def start_of(episode: Episode, model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Positions by joint at the start of a demonstration."""
    data = mujoco.MjData(model)
    data.qpos[:] = episode.states[0, 1 : 1 + model.nq]
    names = [*(f"robot0_joint{i}" for i in range(1, 8)), "cube_joint0"]
    return {name: data.joint(name).qpos.copy() for name in names}


def summary(rows: list) -> dict:
    def rms(values: list[np.ndarray]) -> float:
        return round(float(np.sqrt(np.mean(np.concatenate(values) ** 2))), 2)

    lags = [lag_ms(achieved, wanted) for _, achieved, wanted, _ in rows]
    arm = [errors(achieved, wanted) for _, achieved, wanted, _ in rows]
    return {
        "targets_rms_mm": rms([errors(commanded, wanted) for commanded, _, wanted, _ in rows]),
        "arm_rms_mm": rms(arm),
        "arm_worst_mm": round(float(max(e.max() for e in arm)), 1),
        "arm_at_the_end_mm": round(float(np.mean([e[-1] for e in arm])), 2),
        "lag_ms": round(float(np.mean([lag for lag, _ in lags]))),
        "arm_rms_without_lag_mm": rms([e for _, e in lags]),
        "solved": f"{sum(bool(row[3]) for row in rows)} of {len(rows)}",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/lift_state.hdf5"))
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.data, arguments.episodes)
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1))
