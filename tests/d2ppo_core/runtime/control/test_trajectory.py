"""The curve through a chunk meets its targets and has no step of acceleration inside."""

import numpy as np
from scipy.spatial.transform import Rotation

from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.control.trajectory import ChunkCurve


def chunk(count: int = 13, noise_m: float = 0.0, at_rest: bool = True) -> TimedChunk:
    """A curved motion over ``count`` targets, 50 ms apart, that ends at rest or goes on."""
    times = np.arange(count) * 0.05
    u = times / times[-1] if count > 1 else times
    share, slope = (u**3 * (10 - 15 * u + 6 * u**2), 30 * u**2 * (1 - u) ** 2) if at_rest else (u, np.ones(count))
    span_s = max(times[-1], 0.05)
    rng = np.random.default_rng(3)
    positions = [0.1, 0.02, 0.0] * np.c_[share, share, share] + [0.0, 0.0, 0.01] * np.sin(3 * share)[:, None]
    rates = [0.1, 0.02, 0.0] * np.c_[slope, slope, slope] + [0.0, 0.0, 0.03] * (np.cos(3 * share) * slope)[:, None]
    turn = np.array([0.2, -0.1, 0.3])
    rotations = Rotation.from_rotvec(share[:, None] * turn) * Rotation.from_euler("x", 3.0)
    return TimedChunk(
        stamp_ns=0,
        dt_ns=50_000_000,
        sequence=0,
        epoch=1,
        bundle_hash="test",
        positions_m=positions + rng.normal(0, noise_m, (count, 3)),
        quats_xyzw=rotations.as_quat(),
        twists=np.c_[rates, slope[:, None] * turn] / span_s,
        gripper_width_m=np.zeros(count),
    )


def test_smooth_targets_are_met_with_their_twists():
    targets = chunk()
    curve = ChunkCurve(targets)
    for i in range(13):
        motion = curve.at(i * 0.05 + 1e-12)
        np.testing.assert_allclose(motion.pose[:3, 3], targets.positions_m[i], atol=2e-4)
        np.testing.assert_allclose(
            motion.pose[:3, :3], Rotation.from_quat(targets.quats_xyzw[i]).as_matrix(), atol=2e-3
        )
        np.testing.assert_allclose(motion.twist, targets.twists[i], atol=2e-2)


def test_noisy_targets_make_no_wild_curve():
    clean, noisy = ChunkCurve(chunk()), ChunkCurve(chunk(noise_m=0.001))
    times = np.arange(0.1, 0.4, 0.002)
    gaps = np.array([noisy.at(t).pose[:3, 3] - clean.at(t).pose[:3, 3] for t in times])
    added = np.array([noisy.at(t).acceleration[:3] - clean.at(t).acceleration[:3] for t in times])
    assert np.linalg.norm(gaps, axis=1).max() < 0.0015
    assert np.linalg.norm(added, axis=1).max() < 1.5, "1 mm within 50 ms would be 4 m/s², from target to target"


def test_twist_and_acceleration_are_the_slopes_of_the_pose_and_do_not_jump():
    curve = ChunkCurve(chunk())
    motions = [curve.at(t * 1e-4) for t in range(5990)]
    for values, slopes in (
        ([m.pose[:3, 3] for m in motions], [m.twist[:3] for m in motions]),
        ([m.twist for m in motions], [m.acceleration for m in motions]),
    ):
        middle = 0.5 * (np.array(slopes)[1:] + np.array(slopes)[:-1])
        np.testing.assert_allclose(np.diff(values, axis=0) / 1e-4, middle, atol=2e-2)


def test_past_the_end_it_comes_to_rest_smoothly_and_before_the_start_it_is_there_already():
    targets = chunk(at_rest=False)
    curve = ChunkCurve(targets)
    motions = [curve.at(0.5 + t * 1e-3) for t in range(600)]
    speeds = np.array([np.linalg.norm(m.twist[:3]) for m in motions])
    assert speeds[0] > 0.15 and speeds[-1] == 0.0
    assert np.abs(np.diff(speeds)).max() < 3.1e-3, "3 m/s² at most"
    np.testing.assert_allclose(curve.at(-0.02).pose[:3, 3], targets.positions_m[0], atol=1e-4)


def test_a_chunk_that_ends_at_rest_stays_at_its_end():
    targets = chunk()
    end = ChunkCurve(targets).at(99.0)
    np.testing.assert_allclose(end.pose[:3, 3], targets.positions_m[-1], atol=1e-4)
    assert not end.twist.any() and not end.acceleration.any()


def test_a_single_target_is_a_place_to_come_to_rest():
    targets = chunk(count=1)
    curve = ChunkCurve(targets)
    np.testing.assert_allclose(curve.at(0.0).pose[:3, 3], targets.positions_m[0], atol=1e-12)
    assert not curve.at(1.0).twist.any()
