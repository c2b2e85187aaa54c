"""A policy is verified before it may run; the planner asks it when a chunk is due."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import ActionSpec, Bundle, Golden, Manifest, ObservationSpec, load_bundle, write_bundle
from d2ppo_core.errors import BundleError, ConfigError
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.runtime.inference.observation import ArmSample
from d2ppo_core.runtime.inference.planner import ChunkPlanner, PlannerConfig
from d2ppo_core.runtime.inference.policy import Policy

MS = 1_000_000


def graph(state_size: int = 3) -> bytes:
    """actions = tanh(noise) · 0.1 + mean(state): small, but it reads all that it is given."""
    inputs = [
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, state_size]),
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, 4, 7]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["state"], ["mean"], keepdims=0),
        helper.make_node("Tanh", ["noise"], ["squashed"]),
        helper.make_node("Mul", ["squashed", "tenth"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["actions"]),
    ]
    tenth = helper.make_tensor("tenth", TensorProto.FLOAT, [], [0.1])
    output = helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, 4, 7])
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, [output], [tenth]), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()


def golden(offset: float = 0.0) -> Golden:
    state = np.array([[0.1, 0.2, 0.3]], np.float32)
    noise = np.random.default_rng(0).standard_normal((1, 4, 7), dtype=np.float32)
    actions = (0.1 * np.tanh(noise) + state.mean() + offset).astype(np.float32)
    return Golden({"state": state, "noise": noise}, actions)


def bundle(folder, *, onnx_bytes: bytes | None = None, example: Golden | None = None) -> Bundle:
    manifest = Manifest(
        name="tiny",
        task="lift",
        observations=(ObservationSpec(key="robot0_eef_pos", shape=(3,), dtype="float32", unit="m", frame="world"),),
        action=ActionSpec(),
        pred_horizon=4,
        action_horizon=4,
        num_denoising_steps=10,
        sampler="none",
    )
    write_bundle(folder / "tiny", onnx=onnx_bytes or graph(), manifest=manifest, golden=example or golden())
    return load_bundle(folder / "tiny")


def arm_sample(stamp_ns: int, epoch: int = 1, lead_m: float = 0.0) -> ArmSample:
    rotation = Rotation.from_euler("x", np.pi)
    return ArmSample(
        stamp_ns=stamp_ns,
        measured=RigidState(transform_from([0.5, 0.0, 0.3], rotation), np.zeros(6)),
        reference=RigidState(transform_from([0.5 + lead_m, 0.0, 0.3], rotation), np.zeros(6)),
        gripper_width_m=0.08,
        epoch=epoch,
    )


def test_equal_inputs_give_bit_identical_actions(tmp_path):
    policy = Policy(bundle(tmp_path))
    first, second = policy.infer(golden().inputs), policy.infer(golden().inputs)
    np.testing.assert_array_equal(first, second)
    assert first.shape == (4, 7)
    assert policy.provider == "CPUExecutionProvider"


def test_a_policy_that_misses_its_golden_example_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"misses its golden example by 0\.05"):
        Policy(bundle(tmp_path, example=golden(offset=0.05)))


def test_a_graph_of_another_signature_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"graph of bundle tiny takes .*\(1, 4\).*its manifest says"):
        Policy(bundle(tmp_path, onnx_bytes=graph(state_size=4)))


def test_a_graph_that_is_not_onnx_is_refused(tmp_path):
    with pytest.raises(BundleError, match="ONNX Runtime cannot open bundle tiny on cpu"):
        Policy(bundle(tmp_path, onnx_bytes=b"not a graph"))


def test_a_device_is_used_or_refused_but_never_replaced(tmp_path):
    made = bundle(tmp_path)
    with pytest.raises(BundleError, match="device must be one of"):
        Policy(made, device="abacus")
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has the GPU build of ONNX Runtime")
    with pytest.raises(BundleError, match="cuda"):
        Policy(made, device="cuda")


def test_a_chunk_is_planned_when_it_is_due_and_not_before(tmp_path):
    planner = ChunkPlanner(Policy(bundle(tmp_path)), PlannerConfig())
    planner.observations.push_arm(arm_sample(0))
    assert planner.plan(0) is not None
    planner.observations.push_arm(arm_sample(150 * MS))
    assert planner.plan(150 * MS) is None
    planner.observations.push_arm(arm_sample(200 * MS))
    plan = planner.plan(200 * MS)
    assert plan is not None and plan.observation.stamp_ns == 200 * MS
    assert len(planner.inference_s) == 2


def test_a_new_epoch_is_planned_for_at_once(tmp_path):
    planner = ChunkPlanner(Policy(bundle(tmp_path)), PlannerConfig())
    planner.observations.push_arm(arm_sample(0, epoch=1))
    planner.plan(0)
    planner.observations.push_arm(arm_sample(10 * MS, epoch=2))
    plan = planner.plan(10 * MS)
    assert plan is not None and plan.observation.epochs == (2,)


def test_a_chunk_starts_from_the_reference_within_its_leash(tmp_path):
    planner = ChunkPlanner(Policy(bundle(tmp_path)), PlannerConfig(max_lead_m=0.02))
    planner.observations.push_arm(arm_sample(0, lead_m=0.015))
    near = planner.plan(0)
    planner.observations.push_arm(arm_sample(200 * MS, lead_m=0.3))
    far = planner.plan(200 * MS)
    assert near is not None and far is not None
    assert near.targets[0].states[0].pose[0, 3] == pytest.approx(0.515)
    assert far.targets[0].states[0].pose[0, 3] == pytest.approx(0.52)


def test_the_same_noise_seed_plans_the_same_chunk(tmp_path):
    made = bundle(tmp_path)
    poses = []
    for _ in range(2):
        planner = ChunkPlanner(Policy(made), PlannerConfig(noise_seed=7))
        planner.observations.push_arm(arm_sample(0))
        plan = planner.plan(0)
        assert plan is not None
        poses.append([state.pose for state in plan.targets[0].states])
    np.testing.assert_array_equal(poses[0], poses[1])


def test_a_planner_without_time_to_settle_is_refused():
    with pytest.raises(ConfigError, match="settle_ticks >= 1"):
        PlannerConfig(settle_ticks=0)
