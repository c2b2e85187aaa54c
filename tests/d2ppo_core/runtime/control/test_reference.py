"""The reference is smooth, whatever the chunks do at their seams."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.runtime.control.blend import BlendLimits
from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.control.reference import ReferenceGenerator
from d2ppo_core.runtime.control.speed import SpeedScale

MS = 1_000_000
DOWN = transform_from([0.45, 0.0, 0.2], Rotation.from_euler("x", np.pi))
LIMITS = BlendLimits(longest_s=0.5, acceleration_m_s2=3.0, jerk_m_s3=100.0, acceleration_rad_s2=12.0, jerk_rad_s3=400.0)
"""Slower than the default, so that the limits and not the least duration decide."""


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


def circling_chunk(stamp_ns: int, offset_m=(0.0, 0.0, 0.0)) -> TimedChunk:
    """Half a second of a circle of 10 cm radius at 0.2 m/s, off by a constant."""
    angles = 2.0 * (stamp_ns * 1e-9 + np.arange(11) * 0.05)
    circle = 0.1 * np.c_[np.cos(angles), np.sin(angles), 0.0 * angles]
    speed = 0.2 * np.c_[-np.sin(angles), np.cos(angles), np.zeros((11, 4))]
    return TimedChunk(
        stamp_ns=stamp_ns,
        dt_ns=50 * MS,
        sequence=0,
        epoch=1,
        bundle_hash="test",
        positions_m=[0.45, 0.0, 0.2] + circle + offset_m,
        quats_xyzw=np.tile([1.0, 0.0, 0.0, 0.0], (11, 1)),
        twists=speed,
        gripper_width_m=np.linspace(0.08, 0.0, 11),
    )


def generator(**changes) -> ReferenceGenerator:
    return ReferenceGenerator(DOWN, LIMITS, **changes)


def test_without_a_chunk_the_reference_holds_its_pose_at_rest():
    state = generator().sample(123 * MS)
    np.testing.assert_allclose(state.pose, DOWN, atol=1e-15)
    np.testing.assert_array_equal(state.twist, 0.0)


def test_after_the_blend_the_reference_meets_every_target_in_time():
    chunk = noisy_chunk(np.random.default_rng(0), 0, DOWN[:3, 3])
    reference = generator()
    reference.follow(chunk, 30 * MS)
    for i in range(11):
        if i * 50 < 30 + 1000 * LIMITS.longest_s:
            continue
        state = reference.sample(i * chunk.dt_ns)
        np.testing.assert_allclose(state.pose[:3, 3], chunk.positions_m[i], atol=1e-4)
        np.testing.assert_allclose(state.twist, chunk.twists[i], atol=1e-3)


@pytest.mark.parametrize("period_ms", [50, 100, 200])
def test_pose_twist_and_acceleration_do_not_jump_over_fifty_seams(period_ms):
    rng = np.random.default_rng(1)
    reference, now, states = generator(), 0, []
    for _ in range(50):
        reference.follow(circling_chunk(now - 25 * MS, rng.normal(0, 0.002, 3)), now)
        for _ in range(period_ms):
            now += MS
            states.append(reference.sample(now))
    positions, twists, accelerations = (
        np.array([part(s) for s in states])
        for part in (lambda s: s.pose[:3, 3], lambda s: s.twist[:3], lambda s: s.acceleration[:3])
    )
    np.testing.assert_allclose(np.diff(positions, axis=0) / 1e-3, twists[1:], atol=2e-3)
    np.testing.assert_allclose(np.diff(twists, axis=0) / 1e-3, accelerations[1:], atol=0.12)
    jerk = np.linalg.norm(np.diff(accelerations, axis=0), axis=1)[200:] / 1e-3
    circle = 0.8 + 0.4  # m/s² and m/s³ of the circle itself, with the curve through its targets
    assert jerk.max() < 2.2 * LIMITS.jerk_m_s3 + circle, "an acceleration jumped"
    assert np.linalg.norm(accelerations[200:], axis=1).max() < 2.0 * LIMITS.acceleration_m_s2


def test_a_greater_jump_takes_longer_and_stays_within_the_limits():
    times = []
    for jump in (0.0002, 0.002, 0.01):
        reference = generator()
        reference.follow(circling_chunk(0), 0)
        before = reference.sample(400 * MS)
        chunk = circling_chunk(400 * MS, (jump, 0.0, 0.0))
        reference.follow(chunk, 400 * MS)
        np.testing.assert_allclose(reference.sample(400 * MS).pose, before.pose, atol=1e-12)
        np.testing.assert_allclose(reference.sample(400 * MS).acceleration, before.acceleration, atol=1e-9)
        alone = generator()
        alone.follow(chunk, -10_000 * MS)
        added = [
            reference.sample((400 + t) * MS).acceleration - alone.sample((400 + t) * MS).acceleration
            for t in range(500)
        ]
        jerk = np.linalg.norm(np.diff(added, axis=0)[:, :3], axis=1) / 1e-3
        assert jerk.max() < 1.2 * LIMITS.jerk_m_s3
        times.append(np.flatnonzero(np.linalg.norm(added, axis=1) > 1e-9).max())
    assert times[0] < times[1] < times[2]


def test_past_its_last_target_a_chunk_comes_to_rest():
    chunk = noisy_chunk(np.random.default_rng(2), 0, DOWN[:3, 3])
    reference = generator()
    reference.follow(chunk, 0)
    state = reference.sample(10_000 * MS)
    assert np.linalg.norm(state.pose[:3, 3] - chunk.positions_m[-1]) < 0.05
    np.testing.assert_array_equal(state.twist, 0.0)


def test_told_to_rest_it_loses_speed_and_acceleration_without_a_jump():
    reference = generator()
    reference.follow(circling_chunk(0), 0)
    start = reference.sample(300 * MS)
    reference.rest(start, 300 * MS)
    states = [reference.sample((300 + t) * MS) for t in range(600)]
    for part in ("pose", "twist", "acceleration"):
        np.testing.assert_allclose(getattr(states[0], part), getattr(start, part), atol=1e-9)
    velocity = np.diff([s.pose[:3, 3] for s in states], axis=0) / 1e-3
    np.testing.assert_allclose(velocity, [s.twist[:3] for s in states[1:]], atol=2e-3)
    jerk = np.linalg.norm(np.diff([s.acceleration[:3] for s in states], axis=0), axis=1) / 1e-3
    assert jerk.max() < 1.05 * LIMITS.jerk_m_s3
    np.testing.assert_array_equal(states[-1].twist, 0.0)
    np.testing.assert_array_equal(states[-1].acceleration, 0.0)
    assert np.linalg.norm(states[-1].pose[:3, 3] - start.pose[:3, 3]) < 0.06, "0.2 m/s stop within 6 cm"
    assert reference.chunk is None


def test_after_a_stall_it_goes_on_from_the_last_command_and_catches_up():
    reference = generator()
    chunk = circling_chunk(0)
    reference.follow(chunk, -1000 * MS)
    told = reference.sample(100 * MS)
    reference.resume(told, 250 * MS)
    after = reference.sample(250 * MS)
    np.testing.assert_allclose(after.pose, told.pose, atol=1e-12)
    np.testing.assert_allclose(after.twist, told.twist, atol=1e-12)
    assert reference.chunk is chunk
    steps = np.diff([reference.sample((250 + 8 * i) * MS).pose[:3, 3] for i in range(60)], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.008 * 0.6, "never faster than 0.6 m/s on a way of 0.2 m/s"
    alone = generator()
    alone.follow(chunk, -10_000 * MS)
    late = 250 * MS + round(LIMITS.longest_s * 1e9)
    np.testing.assert_allclose(reference.sample(late).pose, alone.sample(late).pose, atol=1e-9)


def test_the_next_seam_starts_from_what_the_robot_was_told_instead():
    reference = generator()
    reference.follow(circling_chunk(0), 0)
    wanted = reference.sample(200 * MS)
    told = RigidState(wanted.pose.copy(), np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0]))
    told.pose[2, 3] -= 0.03
    reference.overrule(told, 200 * MS)
    reference.follow(circling_chunk(204 * MS), 204 * MS)
    after = reference.sample(204 * MS)
    np.testing.assert_allclose(after.pose[:3, 3], told.pose[:3, 3] + [0.0004, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(after.twist, told.twist, atol=1e-12)


def test_at_half_the_speed_a_chunk_keeps_its_path_and_takes_twice_as_long():
    slow = generator(speed=SpeedScale(0.5))
    fast = generator()
    chunk = circling_chunk(0)
    for reference in (slow, fast):
        reference.follow(chunk, -2000 * MS)
    for ms in (50, 120, 333, 499):
        half, whole = slow.sample(2 * ms * MS), fast.sample(ms * MS)
        np.testing.assert_allclose(half.pose, whole.pose, atol=1e-12)
        np.testing.assert_allclose(half.twist, 0.5 * whole.twist, atol=1e-12)
        np.testing.assert_allclose(half.acceleration, 0.25 * whole.acceleration, atol=1e-12)
    assert (slow.index(500 * MS), fast.index(500 * MS)) == (5, 10), "the gripper keeps pace"
