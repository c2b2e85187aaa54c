"""The reference evaluator in the real robosuite."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from d2ppo_core.bundle import ActionSpec, Manifest, ObservationSpec
from d2ppo_core.errors import BundleError, ConfigError
from sim.batch.env import BatchedEnv
from sim.evaluation import BundlePolicy, evaluate_in_robosuite
from sim.robosuite_vec import RobosuiteVecEnv

MANIFEST = Manifest(
    name="lift_image",
    task="lift",
    observations=(
        ObservationSpec(key="robot0_eef_pos", shape=(3,), dtype="float32", unit="m", frame="world"),
        ObservationSpec(key="robot0_eef_quat", shape=(4,), dtype="float32", unit="1", frame="world"),
        ObservationSpec(
            key="robot0_eye_in_hand_image", shape=(8, 8, 3), dtype="uint8", unit="1", frame="wrist", camera="wrist"
        ),
    ),
    action=ActionSpec(),
    pred_horizon=4,
    action_horizon=4,
    num_denoising_steps=10,
    sampler="ddim",
)


def grasping(observation):
    """A hand-written state policy: one action as a chunk."""
    to_cube_m = observation["object"][:3] - observation["robot0_eef_pos"]
    distance_m = np.linalg.norm(to_cube_m)
    if distance_m < 0.025 and observation["robot0_gripper_qpos"][0] < 0.0295:
        return np.array([[0, 0, 0.5, 0, 0, 0, 1.0]])
    if distance_m < 0.012:
        return np.array([[0, 0, 0, 0, 0, 0, 1.0]])
    hover_m = 0.0 if np.linalg.norm(to_cube_m[:2]) < 0.01 else 0.08
    return np.array([[*(18 * (to_cube_m + [0, 0, hover_m])), 0, 0, 0, -1.0]])


def idle(observation):
    return np.tile([0, 0, 0, 0, 0, 0, -1.0], (4, 1))


def test_a_policy_that_grasps_succeeds_and_the_evaluation_repeats():
    runs = [
        evaluate_in_robosuite(grasping, "lift", episodes=2, action_horizon=1, max_steps=150, images=False)
        for _ in range(2)
    ]
    assert runs[0].successes == 2 and runs[0].success_rate == 1.0
    assert (runs[0].lengths < 150).all()
    assert runs[0] == runs[1]


def test_a_policy_that_does_nothing_fails_after_the_full_time():
    result = evaluate_in_robosuite(idle, "lift", episodes=1, action_horizon=4, max_steps=10, images=False)
    assert (result.successes, result.lengths.tolist()) == (0, [10])


def test_a_chunk_is_executed_open_loop_before_the_policy_is_asked_again():
    calls = []
    evaluate_in_robosuite(
        lambda o: calls.append(o) or idle(o), "lift", episodes=1, action_horizon=4, max_steps=10, image_size_px=16
    )
    assert len(calls) == 3
    assert calls[0]["robot0_eye_in_hand_image"].shape == (16, 16, 3)


@pytest.mark.parametrize("make", [RobosuiteVecEnv.of_task, BatchedEnv])
def test_a_policy_is_shown_what_the_training_worlds_show_it(make):
    chunks = np.random.default_rng(0).uniform(-1, 1, (3, 4, 7))
    seen = []
    evaluate_in_robosuite(
        lambda o: seen.append(o) or chunks[len(seen) - 1], "lift", episodes=1, action_horizon=4, seed=3, max_steps=12,
        images=False,
    )  # fmt: skip
    with make("lift", 1) as env:
        shown = [env.reset(seed=3)[0]] + [env.step_chunk(chunk[None]).obs for chunk in chunks[:2]]
    for ours, theirs in zip(seen, shown, strict=True):
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value[0], atol=1e-6)


def test_a_chunk_that_is_too_short_is_refused():
    with pytest.raises(ConfigError, match="at least 4 actions, got shape"):
        evaluate_in_robosuite(lambda o: idle(o)[:2], "lift", episodes=1, action_horizon=4, images=False)


def test_a_bundle_sees_its_observations_in_order_with_a_canonical_quaternion():
    policy = BundlePolicy(SimpleNamespace(manifest=MANIFEST, infer=lambda inputs: None), seed=5)
    observation = {
        "robot0_eye_in_hand_image": np.full((8, 8, 3), 9, np.uint8),
        "robot0_eef_quat": np.array([-1.0, 0.1, 0, 0]),
        "robot0_eef_pos": np.array([1.0, 2, 3]),
    }
    inputs = policy.inputs(observation)
    np.testing.assert_allclose(inputs["state"], [[1, 2, 3, 1, -0.1, 0, 0]])
    assert {k: (v.shape, v.dtype.name) for k, v in inputs.items()} == {
        "state": ((1, 7), "float32"),
        "noise": ((1, 4, 7), "float32"),
        "images": ((1, 1, 8, 8, 3), "uint8"),
    }


def test_a_bundle_that_reads_something_unknown_is_refused():
    policy = BundlePolicy(SimpleNamespace(manifest=MANIFEST, infer=lambda inputs: None))
    with pytest.raises(BundleError, match="reads robot0_eef_quat, robot0_eye_in_hand_image; got robot0_eef_pos"):
        policy({"robot0_eef_pos": np.zeros(3)})
