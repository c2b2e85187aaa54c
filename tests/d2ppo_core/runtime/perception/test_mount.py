"""Where a camera is: fixed, or where the hand that carries it was when the picture was taken."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import transform_from
from d2ppo_core.runtime.inference.missing import MissingObservationError
from d2ppo_core.runtime.perception.mount import Mount, unit_rotation

MS = 1_000_000
CAMERA = transform_from([0.05, 0.0, -0.1], Rotation.from_euler("z", 0.3))


def hand(x_m: float) -> np.ndarray:
    return transform_from([x_m, 0.0, 0.4], Rotation.from_euler("x", np.pi))


def test_a_camera_beside_the_robot_stays_where_it_is():
    np.testing.assert_array_equal(Mount("base", CAMERA).pose_at(5 * MS), CAMERA)


def test_a_camera_on_the_hand_is_where_the_hand_was_when_it_saw():
    mount = Mount("hand", CAMERA)
    with pytest.raises(MissingObservationError, match="no state from the arm yet"):
        mount.pose_at(0)
    for i in range(50):
        mount.push_hand(i * 8 * MS, hand(0.4 + 0.001 * i))
    np.testing.assert_allclose(mount.pose_at(81 * MS), hand(0.41) @ CAMERA)
    with pytest.raises(MissingObservationError, match="nearest to the picture is 108 ms away"):
        mount.pose_at(500 * MS)
    mount.push_hand(8 * MS, hand(0.7))
    np.testing.assert_allclose(mount.pose_at(0), hand(0.7) @ CAMERA)


def test_a_place_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="mounted on base or hand, got 'roof'"):
        Mount("roof", CAMERA)
    with pytest.raises(ConfigError, match="wanted a unit quaternion .* got norm 2"):
        unit_rotation([0.0, 0.0, 0.0, 2.0])
