"""Chunks and objects from messages: what does not fit is refused by its reason, whatever the numbers are."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.geometry import (
    RigidState,  # noqa: E402
    transform_from,  # noqa: E402
)
from d2ppo_core.runtime.control.chunk import ChunkRefusedError  # noqa: E402
from d2ppo_core.runtime.control.pact import Plan, Verdict  # noqa: E402
from d2ppo_core.runtime.inference.osc import Targets  # noqa: E402
from d2ppo_core.runtime.inference.sightings import Sightings  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, ObjectPose  # noqa: E402
from d2ppo_nodes.convert import chunk_of, fill_targets, objects_msg, sightings_of, verdict_msg, verdict_of  # noqa: E402


def message(frame_id: str = "panda_link0") -> ActionChunk:
    pose = transform_from([0.4, 0.1, 0.3], Rotation.from_euler("xz", [np.pi, 0.3]))
    chunk = ActionChunk(sequence=3, epoch=5, bundle_hash="abc")
    chunk.header.frame_id = frame_id
    chunk.header.stamp.sec, chunk.header.stamp.nanosec = 2, 5
    fill_targets(chunk, Targets((RigidState(pose, np.arange(6.0)),) * 2, np.array([0.08, 0.0]), 0.05))
    return chunk


def test_a_chunk_survives_the_way_through_a_message():
    chunk = chunk_of(message(), "panda_link0")
    chunk.refuse_if_malformed()
    assert (chunk.stamp_ns, chunk.dt_ns, chunk.sequence, chunk.epoch) == (2_000_000_005, 50_000_000, 3, 5)
    np.testing.assert_allclose(chunk.positions_m, [[0.4, 0.1, 0.3]] * 2)
    np.testing.assert_allclose(chunk.twists, [np.arange(6.0)] * 2)
    np.testing.assert_allclose(chunk.gripper_width_m, [0.08, 0.0])


def test_targets_in_another_frame_are_refused():
    with pytest.raises(ChunkRefusedError, match="targets must be in frame 'panda_link0', got 'world'"):
        chunk_of(message("world"), "panda_link0")


@pytest.mark.parametrize("dt_s", [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0])
def test_a_period_that_cannot_be_is_refused_not_a_crash(dt_s):
    chunk = message()
    chunk.dt_s = float(dt_s)
    with pytest.raises(ChunkRefusedError, match="dt must lie between 1 ms and 1 s"):
        chunk_of(chunk, "panda_link0").refuse_if_malformed()


def test_parts_of_different_length_are_refused():
    chunk = message()
    chunk.twists = chunk.twists[:1]
    with pytest.raises(ChunkRefusedError, match="2 poses, 1 twists and 2 widths"):
        chunk_of(chunk, "panda_link0")


@pytest.mark.parametrize("reason", ["", "expired"])
def test_what_an_arm_says_of_its_chunk_survives_the_way_through_a_message(reason: str):
    plan = Plan(source="policy a", sequence=7, stamp_ns=5_000_000_003, epochs=(3, 4))
    verdict = Verdict(plan=plan, follows=not reason, at_ns=6_000_000_001, reason=reason)
    assert verdict_of(verdict_msg(verdict)) == verdict


def objects() -> Sightings:
    poses = {
        name: transform_from([0.5, i, 0.1], Rotation.from_euler("z", 2.0)) for i, name in enumerate(("can", "nut"))
    }
    return Sightings(stamp_ns=3_000_000_007, source="sim", poses=poses, touching={("nut", "peg")})


def test_objects_survive_the_way_through_a_message():
    sent = objects_msg(objects(), "fr3_link0", {"can": np.zeros((6, 6)), "nut": np.diag(np.arange(6.0))})
    assert sent.objects[1].pose.covariance[7] == 1.0
    got = sightings_of(sent, "fr3_link0")
    assert (got.stamp_ns, got.source, set(got.poses)) == (3_000_000_007, "sim", {"can", "nut"})
    assert got.touching == {("nut", "peg")}
    for name, pose in objects().poses.items():
        np.testing.assert_allclose(got.poses[name], pose, atol=1e-12)


@pytest.mark.parametrize(("x_m", "w"), [(np.nan, 1.0), (np.inf, 1.0), (0.0, 0.0), (0.0, np.nan), (0.0, 1.1)])
def test_an_object_whose_pose_is_none_is_refused_by_its_name(x_m, w):
    sent = objects_msg(objects(), "fr3_link0", dict.fromkeys(objects().poses, np.zeros((6, 6))))
    sent.objects.append(ObjectPose(name="bolt"))
    sent.objects[-1].pose.pose.position.x, sent.objects[-1].pose.pose.orientation.w = x_m, w
    with pytest.raises(ValueError, match="object bolt has no finite position and unit quaternion"):
        sightings_of(sent, "fr3_link0")
