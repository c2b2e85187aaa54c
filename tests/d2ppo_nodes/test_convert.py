"""Chunks from messages: what does not fit is refused by its reason, whatever the numbers are."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.geometry import (
    RigidState,  # noqa: E402
    transform_from,  # noqa: E402
)
from d2ppo_core.runtime.control.chunk import ChunkRefusedError  # noqa: E402
from d2ppo_core.runtime.inference.osc import Targets  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk  # noqa: E402
from d2ppo_nodes.convert import chunk_of, fill_targets  # noqa: E402


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
