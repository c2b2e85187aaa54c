"""Observations of different rates come together by time, or the missing one is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import ActionSpec, Manifest, ObservationSpec, load_bundle
from d2ppo_core.errors import BundleError
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.runtime.inference.observation import (
    ArmSample,
    MissingObservationError,
    ObservationBuffer,
    Sightings,
)

MS = 1_000_000
BASE = (1.0, 0.0, 0.0, -0.56, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.912, 0.0, 0.0, 0.0, 1.0)
SITE = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -0.0069, 0.0, 0.0, 0.0, 1.0)


def low_dim(key: str, size: int) -> ObservationSpec:
    return ObservationSpec(key=key, shape=(size,), dtype="float32", unit="m", frame="world")


def manifest(*observations: ObservationSpec) -> Manifest:
    return Manifest(
        name="tiny",
        task="lift",
        observations=observations,
        action=ActionSpec(),
        pred_horizon=4,
        action_horizon=4,
        num_denoising_steps=10,
        sampler="ddim",
        T_world_base=BASE,
        T_ee_site=SITE,
    )


STATE = (low_dim("robot0_eef_pos", 3), low_dim("robot0_eef_quat", 4), low_dim("robot0_gripper_qpos", 2))
WRIST = ObservationSpec(key="image", shape=(8, 8, 3), dtype="uint8", unit="", frame="", camera="wrist")


def sample(stamp_ns: int, x_m: float = 0.5, width_m: float = 0.08) -> ArmSample:
    state = RigidState(transform_from([x_m, 0.0, 0.3], Rotation.from_euler("x", np.pi)), np.zeros(6))
    return ArmSample(stamp_ns=stamp_ns, measured=state, reference=state, gripper_width_m=width_m, epoch=1)


def picture(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def test_the_state_is_in_the_frame_of_the_dataset():
    buffer = ObservationBuffer(manifest(*STATE))
    buffer.push_arm(sample(0, x_m=0.5, width_m=0.06))
    state = buffer.assemble(0).inputs["state"]
    # A hand that points down has its site 6.9 mm above the tool centre point.
    np.testing.assert_allclose(state, [[-0.06, 0, 1.2189, 1, 0, 0, 0, 0.03, -0.03]], atol=1e-6)
    assert state.dtype == np.float32


def test_the_arm_is_interpolated_to_the_time_of_the_image():
    buffer = ObservationBuffer(manifest(*STATE, WRIST))
    for i in range(20):
        buffer.push_arm(sample(i * 8 * MS, x_m=0.4 + 0.001 * i, width_m=0.08 - 0.001 * i))
    buffer.push_image("wrist", 66 * MS, picture(7))
    observation = buffer.assemble(160 * MS)
    assert observation.stamp_ns == observation.arms[0].stamp_ns == 66 * MS
    state = observation.inputs["state"][0]
    np.testing.assert_allclose(state[0], 0.4 + 0.00825 - 0.56, atol=1e-6)
    np.testing.assert_allclose(state[7], 0.5 * (0.08 - 0.00825), atol=1e-6)
    assert observation.inputs["images"].shape == (1, 1, 8, 8, 3)
    assert (observation.inputs["images"] == 7).all()
    assert [str(used) for used in observation.used] == [
        "camera wrist exact, age 94.0 ms, skew +0.0 ms",
        "the arm interpolated, age 96.0 ms, skew -2.0 ms",
    ]


def two_cameras(max_skew_s: float = 0.03) -> ObservationBuffer:
    buffer = ObservationBuffer(manifest(*STATE, WRIST, replace(WRIST, key="other", camera="scene")), 0.5, max_skew_s)
    for i in range(40):
        buffer.push_arm(sample(i * 10 * MS))
    return buffer


def test_of_several_cameras_those_pictures_are_taken_that_are_of_one_time():
    buffer = two_cameras()
    for i in range(5):  # the second one is 12 ms behind, and its last picture is still on its way
        buffer.push_image("wrist", (100 + 33 * i) * MS, picture(i))
        if i < 4:
            buffer.push_image("scene", (112 + 33 * i) * MS, picture(100 + i))
    observation = buffer.assemble(260 * MS)
    assert observation.stamp_ns == (112 + 33 * 3) * MS
    assert observation.inputs["images"][0, :, 0, 0, 0].tolist() == [3, 103]
    wrist, scene, arm = observation.used
    assert (wrist.how, scene.how, arm.how) == ("nearest", "exact", "interpolated")
    assert wrist.skew_s == pytest.approx(-0.012) and arm.skew_s == pytest.approx(-0.001)


def test_cameras_that_are_too_far_apart_are_named():
    buffer = two_cameras(max_skew_s=0.01)
    buffer.push_image("wrist", 100 * MS, picture(0))
    buffer.push_image("scene", 112 * MS, picture(0))
    with pytest.raises(
        MissingObservationError, match="no image from camera scene within 10 ms .*nearest is 12 ms away"
    ):
        buffer.assemble(120 * MS)


def test_a_camera_whose_clock_jumps_back_or_runs_ahead_is_named_until_it_fits():
    buffer = ObservationBuffer(manifest(*STATE, WRIST))
    buffer.push_arm(sample(9_000 * MS))
    buffer.push_image("wrist", 12_000 * MS, picture(0))
    with pytest.raises(MissingObservationError, match="camera wrist is 3000 ms ahead: its clock is another"):
        buffer.assemble(9_000 * MS)
    buffer.push_image("wrist", 1_000 * MS, picture(1))
    with pytest.raises(MissingObservationError, match="camera wrist stopped: newest image is 8000 ms old"):
        buffer.assemble(9_000 * MS)
    buffer.push_image("wrist", 9_000 * MS, picture(2))
    assert (buffer.assemble(9_000 * MS).inputs["images"] == 2).all()


def test_a_state_that_is_no_number_is_named():
    buffer = ObservationBuffer(manifest(*STATE))
    buffer.push_arm(sample(0, x_m=float("nan")))
    with pytest.raises(MissingObservationError, match=r"observation robot0_eef_pos is no number: \[nan"):
        buffer.assemble(0)


def test_a_recording_gives_what_the_policy_saw_and_any_other_time_as_well():
    live, recorded = two_cameras(), two_cameras()
    pushed = [("wrist", 100), ("scene", 104), ("wrist", 133), ("scene", 137), ("wrist", 166)]
    seen = []
    for number, (camera, stamp_ms) in enumerate(pushed):
        live.push_image(camera, stamp_ms * MS, picture(number))
        if number:
            seen.append(live.assemble((stamp_ms + 5) * MS))
    for number, (camera, stamp_ms) in enumerate(pushed):
        recorded.push_image(camera, stamp_ms * MS, picture(number))
        if number:
            again = recorded.assemble((stamp_ms + 5) * MS)
            assert again.used == seen[number - 1].used
            for key, value in again.inputs.items():
                np.testing.assert_array_equal(value, seen[number - 1].inputs[key])
    at = recorded.assemble(170 * MS, at_ns=135 * MS)
    assert at.stamp_ns == 135 * MS and at.inputs["images"][0, :, 0, 0, 0].tolist() == [2, 3]


def test_what_is_missing_is_named():
    buffer = ObservationBuffer(manifest(*STATE, WRIST))
    with pytest.raises(MissingObservationError, match="no state from the arm yet"):
        buffer.assemble(0)
    buffer.push_arm(sample(0))
    with pytest.raises(MissingObservationError, match="no image from camera wrist yet"):
        buffer.assemble(0)


def test_a_camera_that_stopped_is_named_with_its_age():
    buffer = ObservationBuffer(manifest(*STATE, WRIST), max_age_s=0.5)
    buffer.push_image("wrist", 0, picture(0))
    buffer.push_arm(sample(600 * MS))
    with pytest.raises(MissingObservationError, match="camera wrist stopped: newest image is 600 ms old"):
        buffer.assemble(600 * MS)


def test_an_arm_that_stopped_or_does_not_fit_the_image_is_named():
    buffer = ObservationBuffer(manifest(*STATE, WRIST))
    buffer.push_arm(sample(0))
    buffer.push_image("wrist", 100 * MS, picture(0))
    with pytest.raises(MissingObservationError, match="within 30 ms of what was seen; nearest is 100 ms away"):
        buffer.assemble(100 * MS)
    buffer.push_image("wrist", 900 * MS, picture(0))
    with pytest.raises(MissingObservationError, match="arm's state is 900 ms old"):
        buffer.assemble(900 * MS)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"camera wrist delivers \(9, 8, 3\), the bundle wants \(8, 8, 3\)"):
        ObservationBuffer(manifest(*STATE, WRIST)).push_image("wrist", 0, np.zeros((9, 8, 3), np.uint8))


def test_a_bundle_that_wants_what_no_robot_gives_is_refused():
    with pytest.raises(BundleError, match="wants object, but neither its object_parts nor its task lift says"):
        ObservationBuffer(manifest(low_dim("object", 9)))


def test_a_clock_that_jumps_back_clears_the_history():
    buffer = ObservationBuffer(manifest(*STATE))
    buffer.push_arm(sample(5_000 * MS, x_m=0.7))
    buffer.push_arm(sample(10 * MS, x_m=0.4))
    assert buffer.assemble(10 * MS).arms[0].measured.pose[0, 3] == pytest.approx(0.4)


def pair_buffer(pair_bundle: Path) -> ObservationBuffer:
    return ObservationBuffer(load_bundle(pair_bundle).manifest, arms=("left", "right"))


def seen(stamp_ns: int) -> Sightings:
    names = ("hammer", "trash", "lid", "target_bin", "trash_bin")
    return Sightings(stamp_ns=stamp_ns, source="sim", poses={name: np.eye(4) for name in names})


def test_both_arms_are_observed_at_one_time_each_from_its_own_base(pair_bundle):
    buffer = pair_buffer(pair_bundle)
    for i in range(20):
        buffer.push_arm(sample(i * 8 * MS, x_m=0.4 + 0.001 * i), 0)
        buffer.push_arm(sample(i * 8 * MS + 4 * MS, x_m=0.5, width_m=0.02), 1)
    buffer.push_objects(seen(65 * MS))
    observation = buffer.assemble(160 * MS)
    assert observation.stamp_ns == 65 * MS and observation.epochs == (1, 1)
    assert [arm.stamp_ns for arm in observation.arms] == [65 * MS, 65 * MS]
    left, right = observation.inputs["state"][0, :9], observation.inputs["state"][0, 9:18]
    np.testing.assert_allclose(left[:3], [0.0, -0.81 + 0.408125, 1.2189], atol=1e-6)
    np.testing.assert_allclose(right[:3], [0.0, 0.81 - 0.5, 1.2189], atol=1e-6)
    assert (left[7], right[7]) == pytest.approx((0.04, 0.01))
    assert observation.inputs["state"].shape == (1, 59)


def test_the_arm_that_is_missing_is_named(pair_bundle):
    buffer = pair_buffer(pair_bundle)
    with pytest.raises(MissingObservationError, match="no state from arm left and arm right yet"):
        buffer.assemble(0)
    buffer.push_arm(sample(0), 0)
    assert buffer.arms_ns == -1
    with pytest.raises(MissingObservationError, match="no state from arm right yet"):
        buffer.assemble(0)
    buffer.push_arm(sample(0), 1)
    buffer.push_arm(sample(600 * MS), 0)
    buffer.push_objects(seen(600 * MS))
    with pytest.raises(MissingObservationError, match="arm right's state is 600 ms old"):
        buffer.assemble(600 * MS)
    buffer.push_arm(sample(400 * MS), 1)
    with pytest.raises(MissingObservationError, match="no state of arm right within 30 ms of what was seen"):
        buffer.assemble(600 * MS)


def test_a_bundle_that_wants_something_else_of_the_second_arm_is_refused(pair_bundle):
    pair = load_bundle(pair_bundle).manifest
    other = replace(pair, observations=(*pair.observations, low_dim("robot1_joint_pos", 7)))
    with pytest.raises(BundleError, match="wants robot1_joint_pos; there are .*robot0_eef_pos, .*robot1_gripper_qpos"):
        ObservationBuffer(other)
