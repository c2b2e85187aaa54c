"""From a policy's answer to targets, by the representation that its bundle names."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import rotations_6d
from d2ppo_core.bundle import ActionSpec, Manifest, ObservationSpec, load_bundle
from d2ppo_core.errors import ActionError
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.runtime.inference.observation import ArmSample
from d2ppo_core.runtime.inference.planner import ChunkPlanner, PlannerConfig

DOWN = transform_from([0.45, 0.05, 0.2], Rotation.from_euler("x", np.pi))
BASE_M = np.array([-0.56, 0.0, 0.912])
SPECS = {"osc_delta": ActionSpec(), "ee_absolute": ActionSpec(representation="ee_absolute", frame="world", dim=10)}


def planner(representation: str, answer: np.ndarray) -> ChunkPlanner:
    """A planner whose policy always gives this answer, and an arm at rest pointing down."""
    state = ObservationSpec(key="robot0_eef_pos", shape=(3,), dtype="float32", unit="m", frame="world")
    manifest = Manifest(
        name="tiny",
        task="lift",
        observations=(state,),
        action=SPECS[representation],
        pred_horizon=len(answer),
        action_horizon=len(answer),
        num_denoising_steps=1,
        sampler="none",
        T_world_base=tuple(transform_from(BASE_M, Rotation.identity()).ravel()),
    )

    def infer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        assert inputs["noise"].shape == (1, *answer.shape)
        return answer.astype(np.float32)

    chosen = ChunkPlanner(SimpleNamespace(manifest=manifest, infer=infer), PlannerConfig(settle_ticks=40))
    rest = RigidState(DOWN, np.zeros(6))
    chosen.observations.push_arm(
        ArmSample(stamp_ns=10**9, measured=rest, reference=rest, gripper_width_m=0.04, epoch=1)
    )
    return chosen


def test_deltas_move_the_arm_by_their_scale():
    answer = np.tile([0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 1.0], (1, 1))
    targets = planner("osc_delta", answer).plan(10**9).targets[0]
    np.testing.assert_allclose(targets.states[-1].pose[:3, 3] - DOWN[:3, 3], [0.0, 0.01, 0.0], atol=1e-5)
    assert (targets.gripper_width_m == 0.0).all()


def test_goals_in_the_world_are_where_the_arm_comes_to_rest_in_its_base_frame():
    goal = DOWN[:3, 3] + [0.0, 0.03, -0.02]
    answer = np.tile(np.concatenate([goal + BASE_M, rotations_6d(DOWN[:3, :3]), [-1.0]]), (4, 1))
    targets = planner("ee_absolute", answer).plan(10**9).targets[0]
    np.testing.assert_allclose(targets.states[-1].pose[:3, 3], goal, atol=1e-5)
    np.testing.assert_allclose(targets.states[-1].pose[:3, :3], DOWN[:3, :3], atol=1e-5)
    assert (targets.gripper_width_m == 0.08).all()


def test_an_answer_that_is_no_pose_makes_no_chunk_and_the_next_observation_is_tried():
    bad = planner("ee_absolute", np.zeros((4, 10)))
    with pytest.raises(ActionError, match="goal 0 of the chunk is no pose"):
        bad.plan(10**9)


def test_a_planner_that_begins_anew_plans_at_once_and_draws_its_noise_again():
    drawn = []

    def infer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        drawn.append(inputs["noise"].copy())
        return np.zeros((4, 7), np.float32)

    chosen = planner("osc_delta", np.zeros((4, 7)))
    chosen.policy.infer = infer
    for seed in (3, 4, 3):
        chosen.restart(seed)
        assert chosen.plan(10**9) is not None
        assert chosen.plan(10**9) is None, "not before it is due"
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])


def pair_planner(pair_bundle: Path, answer: np.ndarray, **action: object) -> ChunkPlanner:
    """A planner for two arms whose policy always gives this answer; both hands rest at one place before their bases."""
    pair = load_bundle(pair_bundle).manifest
    keys = tuple(spec for spec in pair.observations if spec.key.endswith("eef_pos"))
    manifest = replace(
        pair,
        observations=keys,
        object_parts=(),
        action=replace(pair.action, **action),
        pred_horizon=len(answer),
        action_horizon=1,
    )
    policy = SimpleNamespace(manifest=manifest, infer=lambda _: answer.astype(np.float32))
    chosen = ChunkPlanner(policy, PlannerConfig(settle_ticks=40), ("left", "right"))
    for arm in (0, 1):
        push(chosen, arm, 10**9, 1)
    return chosen


def push(planner: ChunkPlanner, arm: int, stamp_ns: int, epoch: int) -> None:
    rest = RigidState(DOWN, np.zeros(6))
    sample = ArmSample(stamp_ns=stamp_ns, measured=rest, reference=rest, gripper_width_m=0.04, epoch=epoch)
    planner.observations.push_arm(sample, arm)


def test_one_inference_moves_two_arms_each_by_its_own_numbers_in_its_own_base_frame(pair_bundle):
    chosen = pair_planner(pair_bundle, np.array([[0.0, 0.2, 0, 0, 0, 0, 1.0, -0.2, 0.0, 0, 0, 0, 0, -1.0]]))
    plan = chosen.plan(10**9)
    left, right = plan.targets
    np.testing.assert_allclose(left.states[-1].pose[:3, 3] - DOWN[:3, 3], [0.0, 0.01, 0.0], atol=1e-5)
    np.testing.assert_allclose(right.states[-1].pose[:3, 3] - DOWN[:3, 3], [-0.01, 0.0, 0.0], atol=1e-5)
    assert left.gripper_width_m[0] == 0.0 and right.gripper_width_m[0] == 0.08
    assert plan.observation.epochs == (1, 1) and len(chosen.inference_s) == 1


def test_goals_of_both_arms_are_in_the_one_world(pair_bundle):
    bases = load_bundle(pair_bundle).manifest.bases
    goals = [base @ transform_from([0.02, 0.0, 0.0], Rotation.identity()) @ DOWN for base in bases]
    row = np.concatenate([np.concatenate([g[:3, 3], rotations_6d(g[:3, :3]), [1.0]]) for g in goals])
    chosen = pair_planner(pair_bundle, np.tile(row, (8, 1)), representation="ee_absolute", frame="world", dim=20)
    for targets in chosen.plan(10**9).targets:
        moved = targets.states[-1].pose[:3, 3] - DOWN[:3, 3]
        np.testing.assert_allclose(moved, [0.02, 0.0, -0.0069], atol=1e-4)  # the goal is the grip site's


def test_a_new_epoch_of_either_arm_makes_a_plan_due_at_once(pair_bundle):
    chosen = pair_planner(pair_bundle, np.zeros((8, 14)))
    assert chosen.plan(10**9) is not None and chosen.plan(10**9) is None
    push(chosen, 1, 10**9 + 8_000_000, 2)
    push(chosen, 0, 10**9 + 8_000_000, 1)
    assert chosen.plan(10**9 + 8_000_000).observation.epochs == (1, 2)
