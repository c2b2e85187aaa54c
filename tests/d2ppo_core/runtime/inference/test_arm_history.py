"""An arm's state between two that it told."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from d2ppo_core.geometry import RigidState, rotation_of, transform_from
from d2ppo_core.runtime.inference.arm_history import ArmHistory, ArmSample

MS = 1_000_000
TURNS = Rotation.from_rotvec([[0.3, -0.2, 2.9], [0.5, 0.4, 2.2]])


def told(stamp_ms: int, turn: int, epoch: int = 1) -> ArmSample:
    state = RigidState(transform_from([0.4 + turn, 0.0, 0.3], TURNS[turn]), np.full(6, 10.0 * turn))
    reference = RigidState(transform_from([0.0, 1.0 * turn, 0.0], TURNS[turn]), np.zeros(6))
    return ArmSample(
        stamp_ns=stamp_ms * MS, measured=state, reference=reference, gripper_width_m=0.08 * turn, epoch=epoch
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 1.0])
def test_positions_are_interpolated_linearly_and_rotations_on_the_sphere(share):
    history = ArmHistory()
    history.push(told(100, 0))
    history.push(told(108, 1))
    state, off_ns, how = history.at(round((100 + 8 * share) * MS))
    np.testing.assert_allclose(state.measured.pose[:3, 3], [0.4 + share, 0.0, 0.3], atol=1e-12)
    np.testing.assert_allclose(state.reference.pose[:3, 3], [0.0, share, 0.0], atol=1e-12)
    expected = Slerp([0.0, 1.0], TURNS)(share)
    assert (rotation_of(state.measured.pose) * expected.inv()).magnitude() < 1e-9
    np.testing.assert_allclose(state.measured.twist, 10.0 * share)
    assert state.gripper_width_m == pytest.approx(0.08 * share)
    assert how == ("exact" if share in (0.0, 1.0) else "interpolated")
    assert abs(off_ns) == round(8 * MS * min(share, 1.0 - share))


def test_before_the_first_and_after_the_last_it_is_the_nearest():
    history = ArmHistory()
    assert not history and history.newest_ns == -1
    history.push(told(100, 0))
    history.push(told(108, 1))
    early, late = history.at(97 * MS), history.at(110 * MS)
    assert (early[0].stamp_ns, *early[1:]) == (100 * MS, 3 * MS, "nearest")
    assert (late[0].stamp_ns, *late[1:]) == (108 * MS, -2 * MS, "nearest")


def test_nothing_is_interpolated_across_an_epoch():
    history = ArmHistory()
    history.push(told(100, 0, epoch=1))
    history.push(told(108, 1, epoch=2))
    state, _, how = history.at(103 * MS)
    assert (state.epoch, state.stamp_ns, how) == (1, 100 * MS, "nearest")


def test_a_clock_that_jumps_back_forgets_what_was():
    history = ArmHistory()
    history.push(told(100, 0))
    history.push(told(10, 1))
    assert history.at(100 * MS)[0].stamp_ns == 10 * MS
