"""The reference is continuous, whatever the chunks do at their seams."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import transform_from
from d2ppo_core.runtime.chunk import TimedChunk
from d2ppo_core.runtime.reference import ReferenceGenerator

MS = 1_000_000
DOWN = transform_from([0.45, 0.0, 0.2], Rotation.from_euler("x", np.pi))


def noisy_chunk(rng: np.random.Generator, stamp_ns: int, start_m, sequence: int = 0) -> TimedChunk:
    """Twelve targets of a curved motion, off by a random jump as a replanning policy's are."""
    times = np.arange(12) * 0.05
    velocity, turn_rate = rng.uniform(-0.2, 0.2, 3), rng.uniform(-0.5, 0.5, 3)
    positions = np.asarray(start_m) + rng.normal(0, 0.004, 3) + times[:, None] * velocity
    rotations = [Rotation.from_rotvec(turn_rate * t) * Rotation.from_euler("x", np.pi) for t in times]
    return TimedChunk(
        stamp_ns=stamp_ns,
        dt_ns=50 * MS,
        sequence=sequence,
        epoch=1,
        bundle_hash="test",
        positions_m=positions,
        quats_xyzw=np.array([r.as_quat() for r in rotations]),
        twists=np.tile(np.r_[velocity, turn_rate], (12, 1)),
        gripper_width_m=np.full(12, 0.08),
    )


def test_without_a_chunk_the_reference_holds_its_pose_at_rest():
    state = ReferenceGenerator(DOWN, blend_s=0.1).sample(123 * MS)
    np.testing.assert_array_equal(state.pose, DOWN)
    np.testing.assert_array_equal(state.twist, 0.0)


def test_after_the_blend_the_reference_meets_every_target_in_time():
    chunk = noisy_chunk(np.random.default_rng(0), 0, DOWN[:3, 3])
    generator = ReferenceGenerator(DOWN, blend_s=0.1)
    generator.follow(chunk, 30 * MS)
    for i in range(3, 11):
        state = generator.sample(i * chunk.dt_ns)
        np.testing.assert_allclose(state.pose[:3, 3], chunk.positions_m[i], atol=1e-9)
        np.testing.assert_allclose(state.twist, chunk.twists[i], atol=1e-9)


def test_pose_and_twist_do_not_jump_over_fifty_seams():
    rng = np.random.default_rng(1)
    generator, now, positions, twists = ReferenceGenerator(DOWN, blend_s=0.1), 0, [], []
    for sequence in range(50):
        generator.follow(noisy_chunk(rng, now - 25 * MS, generator.sample(now).pose[:3, 3], sequence), now)
        for _ in range(200):
            now += MS
            state = generator.sample(now)
            positions.append(state.pose[:3, 3])
            twists.append(state.twist)
    velocity = np.diff(positions, axis=0) / 1e-3
    assert np.abs(velocity).max() < 1.0, "a position jumped"
    assert np.abs(np.diff(twists, axis=0))[:, :3].max() < 0.05, "a velocity jumped by more than 5 cm/s in 1 ms"
    np.testing.assert_allclose(velocity, np.array(twists)[1:, :3], atol=0.02)


def test_past_its_last_target_a_chunk_rests_at_its_end():
    chunk = noisy_chunk(np.random.default_rng(2), 0, DOWN[:3, 3])
    generator = ReferenceGenerator(DOWN, blend_s=0.1)
    generator.follow(chunk, 0)
    state = generator.sample(10_000 * MS)
    np.testing.assert_allclose(state.pose[:3, 3], chunk.positions_m[-1])
    np.testing.assert_array_equal(state.twist, 0.0)


def test_a_blend_of_no_length_is_refused():
    with pytest.raises(ValueError, match="blend_s must be positive"):
        ReferenceGenerator(DOWN, blend_s=0.0)


def test_told_to_rest_it_slows_down_evenly_without_a_jump():
    generator = ReferenceGenerator(DOWN, blend_s=0.1)
    generator.follow(noisy_chunk(np.random.default_rng(2), 0, DOWN[:3, 3]), 0)
    start = generator.sample(200 * MS)
    generator.rest(start, 200 * MS)
    states = [generator.sample((200 + t) * MS) for t in range(400)]
    np.testing.assert_allclose(states[0].pose, start.pose)
    np.testing.assert_allclose(states[0].twist, start.twist)
    speeds = np.array([np.linalg.norm(s.twist[:3]) for s in states])
    assert speeds[0] > 0.05 and (np.diff(speeds) <= 1e-12).all()
    velocity = np.diff([s.pose[:3, 3] for s in states], axis=0) / 1e-3
    np.testing.assert_allclose(velocity, [s.twist[:3] for s in states[1:]], atol=1e-3)
    np.testing.assert_array_equal(states[-1].twist, 0.0)
    assert generator.chunk is None
