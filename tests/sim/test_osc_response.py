"""The targets that a robot is sent are the motion that robosuite's own controller makes of the same actions."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import ActionSpec
from d2ppo_core.config.schema import ROBOSUITE_PANDA_COUPLING
from d2ppo_core.geometry import transform_from
from d2ppo_core.runtime.osc import RigidState, targets_from_deltas

pytest.importorskip("robosuite")
from sim.experts import ActionNoise, Style, expert_for  # noqa: E402
from sim.robosuite_env import RobosuiteEnv  # noqa: E402

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
            for command in expert_for("lift")(env.raw, style):
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
