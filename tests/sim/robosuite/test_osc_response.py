"""The targets that a robot is sent are the motion that robosuite's own controller makes of the same actions."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import goals_from_deltas
from d2ppo_core.bundle import ActionSpec
from d2ppo_core.config.schema import ROBOSUITE_PANDA_COUPLING
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.runtime.inference.osc import targets_from_deltas, targets_from_goals

pytest.importorskip("robosuite")
from sim.experts import ActionNoise, Scene, Style, expert_for  # noqa: E402
from sim.robosuite.env import RobosuiteEnv  # noqa: E402

TICKS = 4
EPISODES = 3


@pytest.fixture(scope="module")
def episodes() -> list[tuple[list[RigidState], np.ndarray]]:
    """State of the grip site at each control tick of some noisy expert episodes, and the actions executed."""
    recorded = []
    with RobosuiteEnv("lift") as env:
        for seed in range(EPISODES):
            env.reset(1000 + seed)
            rng = np.random.default_rng([7, seed])
            style = Style.draw(rng, 0.8)
            noise, states, actions = ActionNoise(rng, style.noise_std), [site_state(env)], []
            for command in expert_for("lift")(Scene(model=env.model, data=env.data, is_solved=env.is_success), style):
                actions.append(np.clip(command.action + command.noise_gain * noise(), -1, 1))
                env.step(actions[-1])
                states.append(site_state(env))
            recorded.append((states, np.array(actions)))
    return recorded


def site_state(env: RobosuiteEnv) -> RigidState:
    model, data = env.raw.sim.model._model, env.raw.sim.data._data
    mujoco.mj_forward(model, data)
    site = model.site("gripper0_right_grip_site").id
    linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, linear, angular, site)
    rotation = Rotation.from_matrix(data.site_xmat[site].reshape(3, 3))
    return RigidState(transform_from(data.site_xpos[site], rotation), np.r_[linear @ data.qvel, angular @ data.qvel])


def prediction_errors(episodes, spec: ActionSpec) -> tuple[np.ndarray, np.ndarray]:
    """Distance (m) and angle (rad) between predicted and achieved pose one chunk of four ticks later."""
    distances, angles = [], []
    for states, actions in episodes:
        for start in range(len(actions) - TICKS + 1):
            targets = targets_from_deltas(actions[start : start + TICKS], states[start], spec, np.eye(4), 1)
            predicted, achieved = targets.states[TICKS].pose, states[start + TICKS].pose
            distances.append(np.linalg.norm(predicted[:3, 3] - achieved[:3, 3]))
            turn = Rotation.from_matrix(predicted[:3, :3] @ achieved[:3, :3].T)
            angles.append(np.linalg.norm(turn.as_rotvec()))
    return np.array(distances), np.array(angles)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def test_a_chunk_predicts_what_robosuite_does_within_a_few_millimetres(episodes):
    distances, angles = prediction_errors(episodes, ActionSpec(coupling=ROBOSUITE_PANDA_COUPLING))
    assert rms(distances) < 4e-3
    assert rms(angles) < 20e-3


def test_the_coupling_halves_the_error_of_an_arm_that_were_decoupled(episodes):
    coupled, _ = prediction_errors(episodes, ActionSpec(coupling=ROBOSUITE_PANDA_COUPLING))
    decoupled, _ = prediction_errors(episodes, ActionSpec())
    assert rms(coupled) < 0.6 * rms(decoupled)


def drift(episodes, *, goals: bool) -> np.ndarray:
    """Distance (m) from the motion in robosuite after each chunk, where each starts as the one before was to end."""
    delta_spec = ActionSpec(coupling=ROBOSUITE_PANDA_COUPLING)
    goal_spec = ActionSpec(representation="ee_absolute", frame="world", dim=10, coupling=ROBOSUITE_PANDA_COUPLING)
    distances, still = [], np.eye(4)
    for states, actions in episodes:
        poses = np.array([state.pose for state in states[:-1]])
        wanted = goals_from_deltas(actions, poses[:, None, :3, 3], poses[:, None, :3, :3], np.eye(3)[None])
        state = states[0]
        for first in range(0, len(actions) - TICKS + 1, TICKS):
            ticks = slice(first, first + TICKS)
            if goals:
                targets = targets_from_goals(wanted[ticks], state, goal_spec, still, still, 1)
            else:
                targets = targets_from_deltas(actions[ticks], state, delta_spec, still, 1)
            state = targets.states[TICKS]
            distances.append(np.linalg.norm(state.pose[:3, 3] - states[first + TICKS].pose[:3, 3]))
    return np.array(distances)


def test_goals_keep_a_motion_that_nobody_corrects_in_place_where_deltas_drift(episodes):
    along_goals, along_deltas = drift(episodes, goals=True), drift(episodes, goals=False)
    assert rms(along_goals) < 6e-3 and along_goals.max() < 20e-3
    assert rms(along_deltas) > 2.0 * rms(along_goals)
