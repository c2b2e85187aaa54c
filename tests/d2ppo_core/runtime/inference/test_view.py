"""What a policy sees of a camera's picture, and through which lens."""

import numpy as np
import pytest

from d2ppo_core.calibrated import Intrinsics
from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.inference.view import View

LENS = Intrinsics(
    width_px=640, height_px=480, fx_px=600.0, fy_px=610.0, cx_px=319.5, cy_px=239.5, distortion=(0.1, 0, 0, 0, 0)
)
SQUARE = View(camera_hw=(480, 640), policy_hw=(96, 96))


def test_the_centre_of_the_shape_is_cut_out_and_scaled_by_area():
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[:, 80:320] = (200, 0, 0)  # the left half of the middle
    picture[:, 320:560] = (0, 0, 100)
    picture[:, 560:] = 255  # outside
    seen = SQUARE.apply(picture)
    assert seen.shape == (96, 96, 3) and seen.dtype == np.uint8
    np.testing.assert_array_equal(seen[:, :48], np.broadcast_to((200, 0, 0), (96, 48, 3)))
    np.testing.assert_array_equal(seen[:, 48:], np.broadcast_to((0, 0, 100), (96, 48, 3)))
    blocks = np.arange(480 * 640 * 3, dtype=np.uint32).reshape(480, 640, 3) % 251
    mean = blocks[:, 80:560].reshape(96, 5, 96, 5, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(SQUARE.apply(blocks.astype(np.uint8)), mean, atol=0.5 + 1e-6)


def test_a_picture_of_the_policys_size_is_left_alone():
    picture = np.zeros((84, 84, 3), np.uint8)
    assert View(camera_hw=(84, 84), policy_hw=(84, 84)).apply(picture) is picture


def test_the_lens_is_that_of_what_is_seen():
    lens = SQUARE.intrinsics(LENS)  # 480x480 is cut from the middle of 640x480 and scaled by 1/5
    assert (lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px) == pytest.approx((120.0, 122.0, 47.5, 47.5))
    assert (lens.width_px, lens.height_px, lens.distortion) == (96, 96, LENS.distortion)


def test_a_point_is_seen_where_the_lens_says():
    picture = np.zeros((480, 640, 3), np.uint8)
    point = np.array([0.05, -0.1, 1.0])  # a direction
    column, row, _ = LENS.K_camera @ point
    picture[round(row) - 2 : round(row) + 3, round(column) - 2 : round(column) + 3] = 255
    weight = SQUARE.apply(picture)[..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    centre = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
    np.testing.assert_allclose(centre, (SQUARE.intrinsics(LENS).K_camera @ point)[:2], atol=0.15)


def test_other_sizes_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"image 800x96 must fit into the camera's 640x480"):
        View(camera_hw=(480, 640), policy_hw=(96, 800))
    with pytest.raises(ValueError, match=r"wanted a picture of \(480, 640\) px \(height, width\), got \(240, 320\)"):
        SQUARE.apply(np.zeros((240, 320, 3), np.uint8))
