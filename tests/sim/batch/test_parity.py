"""Expert episodes replayed in batched worlds and in robosuite: the same motion through grasp and insertion.

`episodes/<task>.npz` hold the actions of scripted experts; the start of each follows from the seed in its name.

Three statements, from strict to loose. With exact arithmetic and without shortcuts the kernel in Python and the
compiled one repeat robosuite bit by bit, whole episodes long: hence model, start, controller, stepping order, reward
and observation are the same. Shortcuts leave out what cannot matter, and with it change the order of the solver's
sums. The fast arithmetic orders the controller's sums otherwise: worth 1e-16 rad in one control step, 1e-6 at most
where a contact begins or ends, and over whole episodes as much as contacts amplify that: in Transport, where two hands
hold one hammer, as much as they amplify a nudge in the last digit in robosuite itself.
"""

from pathlib import Path

import mujoco
import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")
pytest.importorskip("numba", reason="bits are equal only where both are compiled by numba")

from scipy.stats import ks_2samp

from sim.batch.env import BatchedEnv
from sim.robosuite.env import RobosuiteEnv
from sim.robosuite.vec import RobosuiteVecEnv
from sim.tasks import TASKS

EPISODES = Path(__file__).parent / "episodes"
WHOLE_EPISODE_RAD = {"lift": 1e-5, "can": 1e-4, "square": 1e-5, "transport": 1e-5}
WHOLE_EPISODES = [
    *(("exact", True, task) for task in TASKS),
    *(("fast", shortcuts, task) for shortcuts in (False, True) for task in ("lift", "can", "square")),
]
"""Arithmetic, shortcuts, task; exact without shortcuts is held to equal bits."""
ONE_STEP_RAD, ONE_STEP_MEDIAN_RAD = 1e-6, 1e-14
OBSERVATION_TOLERANCE = 1e-4
SHORT_STEPS = {"lift": 70, "can": 60, "square": 60, "transport": 30}
STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def episodes(task):
    """Actions (T, Da) by seed."""
    with np.load(EPISODES / f"{task}.npz") as file:
        return {int(name.removeprefix("seed")): file[name].astype(np.float64) for name in file}


def first_episode(task):
    seed, actions = next(iter(episodes(task).items()))
    return seed, actions[: SHORT_STEPS[task]]


def joints(env):
    """Addresses of all arm joints in the batched world's qpos."""
    return [address for arm in env.layout.arms for address in arm.qpos]


class Replay:
    """One episode in a batched world and in robosuite side by side."""

    def __init__(self, task, seed, kernel, steps=None, *, shortcuts=False, arithmetic="exact"):
        self.worst_observation, self.same, self.solved = 0.0, True, False
        with (
            BatchedEnv(task, 1, num_threads=1, kernel=kernel, shortcuts=shortcuts, arithmetic=arithmetic) as ours,
            RobosuiteVecEnv.of_task(task, 1) as theirs,
        ):
            self.left, self.right = ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0]
            states = []
            for action in episodes(task)[seed][:steps]:
                if self.solved:
                    break  # what a released object does then is no part of the task
                self.compare_observations()
                self.left, reward, _, _, info = ours.step(action[None])
                self.right, wanted, _, _, wanted_info = theirs.step(action[None])
                self.same &= bool(reward == wanted) and bool(info["success"] == wanted_info["success"])
                self.solved |= bool(info["success"][0])
                states.append((ours.states()[0], theirs.envs[0].state()))
            self.compare_observations()
            self.states, self.wanted_states = np.array(states).transpose(1, 0, 2)
            columns = 1 + np.array(joints(ours))
            self.worst_q_rad = float(np.abs((self.states - self.wanted_states)[:, columns]).max())

    def compare_observations(self):
        for key, value in self.left.items():
            self.worst_observation = max(self.worst_observation, float(np.abs(value - self.right[key]).max()))


@pytest.mark.parametrize("kernel", ["numpy", "native"])
@pytest.mark.parametrize("task", TASKS)
def test_exact_arithmetic_repeats_robosuite_bit_by_bit(task, kernel):
    replay = Replay(task, next(iter(episodes(task))), kernel, SHORT_STEPS[task])
    np.testing.assert_array_equal(replay.states, replay.wanted_states)
    assert replay.worst_observation <= OBSERVATION_TOLERANCE
    assert replay.same


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kernel", ["numpy", "native"])
@pytest.mark.parametrize("task", TASKS)
def test_exact_arithmetic_repeats_whole_expert_episodes_bit_by_bit(task, kernel):
    for seed in episodes(task):
        replay = Replay(task, seed, kernel)
        np.testing.assert_array_equal(replay.states, replay.wanted_states)
        print(f"{task} seed {seed}: {len(replay.states)} steps equal, observations {replay.worst_observation:.1e}")
        assert replay.worst_observation <= OBSERVATION_TOLERANCE
        assert replay.same and replay.solved


@pytest.mark.parametrize("task", TASKS)
def test_fast_arithmetic_moves_as_robosuite_does(task):
    replay = Replay(task, next(iter(episodes(task))), "native", SHORT_STEPS[task], arithmetic="fast")
    assert replay.worst_q_rad <= 1e-9
    assert replay.worst_observation <= OBSERVATION_TOLERANCE
    assert replay.same


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("arithmetic", "shortcuts", "task"), WHOLE_EPISODES)
def test_shortcuts_and_fast_arithmetic_hardly_show_in_whole_expert_episodes(arithmetic, shortcuts, task):
    for seed in episodes(task):
        replay = Replay(task, seed, "native", shortcuts=shortcuts, arithmetic=arithmetic)
        print(
            f"{task} seed {seed}: {len(replay.states)} steps, dq {replay.worst_q_rad:.1e} rad, "
            f"observations {replay.worst_observation:.1e}"
        )
        assert replay.worst_q_rad <= WHOLE_EPISODE_RAD[task]
        # a can that was let go bounces: with shortcuts its pose, not the robot's, may differ by some 1e-4
        assert replay.worst_observation <= (10 if shortcuts else 1) * OBSERVATION_TOLERANCE
        assert replay.same and replay.solved


def one_step_differences(task, seed, actions):
    """(T,) difference of the kernels after each control step from the same state, rad."""
    differences = []
    with BatchedEnv(task, 1, kernel="numpy") as reference, BatchedEnv(task, 1, num_threads=1) as native:
        reference.reset(seed=seed)
        native.reset(seed=seed)
        model = native.model.__copy__()
        native.layout.table.write(model, native.kernel.parameters[0])
        here, there = reference.kernel.data[0], native.kernel.data[0]
        state = np.empty(mujoco.mj_stateSize(model, STATE))
        for action in actions:
            reference.step(action[None])
            native.step(action[None])
            differences.append(np.abs(here.qpos - there.qpos)[joints(native)].max())
            mujoco.mj_getState(model, here, state, STATE)
            mujoco.mj_setState(model, there, state, STATE)
            mujoco.mj_step1(model, there)
    return np.array(differences)


@pytest.mark.parametrize("task", TASKS)
def test_one_control_step_with_fast_arithmetic_agrees(task):
    assert one_step_differences(task, *first_episode(task)).max() <= ONE_STEP_RAD


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", TASKS)
def test_one_control_step_with_fast_arithmetic_agrees_from_every_state_of_whole_episodes(task):
    for seed, actions in episodes(task).items():
        differences = one_step_differences(task, seed, actions)
        print(f"{task} seed {seed}: one step, median {np.median(differences):.1e} rad, max {differences.max():.1e} rad")
        assert differences.max() <= ONE_STEP_RAD
        assert np.median(differences) <= ONE_STEP_MEDIAN_RAD


@pytest.mark.parametrize("task", TASKS)
def test_equal_seeds_draw_robosuites_own_starts(task):
    with RobosuiteEnv(task) as reference, BatchedEnv(task, 4) as batched:
        batched.reset(seed=11)
        for world, seed in enumerate(range(11, 15)):
            reference.reset(seed)
            np.testing.assert_array_equal(batched.states()[world], reference.state())


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", TASKS)
def test_starts_are_distributed_as_robosuites(task):
    """Two samples of 500 with different seeds; Kolmogorov and Smirnov per coordinate, corrected for their number."""
    count = 500
    with BatchedEnv(task, count) as batched:
        batched.reset(seed=10_000)
        ours = batched.states()
    with RobosuiteEnv(task) as reference:
        theirs = []
        for seed in range(count):
            reference.reset(seed)
            theirs.append(reference.state())
    theirs = np.array(theirs)
    moving = np.flatnonzero(theirs.std(axis=0) > 1e-9)
    np.testing.assert_array_equal(moving, np.flatnonzero(ours.std(axis=0) > 1e-9))
    p_values = [ks_2samp(ours[:, i], theirs[:, i]).pvalue for i in moving]
    print(f"{task}: {len(moving)} coordinates, smallest p {min(p_values):.3f}")
    assert min(p_values) > 0.01 / len(moving)


@pytest.mark.parametrize("task", TASKS)
def test_shortcuts_do_not_show_in_the_motion(task):
    seed, actions = first_episode(task)
    ends = []
    for shortcuts in (True, False):
        with BatchedEnv(task, 1, shortcuts=shortcuts) as env:
            env.reset(seed=seed)
            for action in actions:
                env.step(action[None])
            ends.append(env.kernel.data[0].qpos[joints(env)])
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)


def test_saved_states_replay_as_after_robomimics_reset():
    """`set_states` starts the controllers from home, as robosuite does when a demonstration is put back."""
    seed, actions = first_episode("square")
    with RobosuiteEnv("square") as reference, BatchedEnv("square", 1, shortcuts=False) as batched:
        reference.reset(seed)
        reference.reset_to(reference.model_xml(), reference.state())
        batched.set_states(reference.state()[None])
        for action in actions[:25]:
            reference.step(action)
            batched.step(action[None])
        positions = slice(1, 1 + batched.model.nq)
        np.testing.assert_allclose(batched.states()[0, positions], reference.state()[positions], atol=1e-5)
