from dataclasses import replace

import numpy as np
import pytest

from calibration.chain import Arm, Chain, fit_pixels, moved

from .synthetic import CAMERA, HAND, READY_RAD, T_BASE_BOARD, error_of, inverse, inverses, joints_of, posture, scene

CLOSE = np.array((0.004, -0.003, 0.005, 0.01, -0.008, 0.012))


def chain_of(mount: str = "hand", seed: int = 0, count: int = 6, pixel_sd: float = 0.3) -> Chain:
    made = scene(seed, count, pixel_sd=pixel_sd, mount=mount)
    hands = made.hands if mount == "hand" else inverses(made.hands)
    chain = Chain.of(hands, made.detections, CAMERA, moved(made.X, CLOSE), moved(made.Z, -CLOSE))
    return replace(chain, inverted=mount == "base")


def numeric(chain: Chain, step: np.ndarray) -> np.ndarray:
    return (chain.after(1e-6 * step).residuals()[0] - chain.after(-1e-6 * step).residuals()[0]) / 2e-6


def test_the_derivatives_by_camera_board_and_size_are_slopes() -> None:
    chain = chain_of()
    J = chain.by_camera_and_board()
    for column in range(13):
        assert J[:, :, column] == pytest.approx(numeric(chain, np.eye(13)[column]), rel=1e-4, abs=0.02)


def test_the_derivative_by_a_hand_is_a_slope() -> None:
    chain = chain_of()
    _, by_hand = chain.residuals()
    for column in range(6):
        step = 1e-6 * np.eye(6)[column]
        ahead, back = (
            replace(chain, hands=np.stack([moved(h, s * step) for h in chain.hands])).residuals()[0] for s in (1, -1)
        )  # fmt: skip
        assert by_hand[:, :, column] == pytest.approx((ahead - back) / 2e-6, rel=1e-4, abs=0.02)


@pytest.mark.parametrize("mount", ["hand", "base"])
def test_the_derivative_by_joints_is_a_slope_wherever_the_camera_is(mount: str) -> None:
    q = READY_RAD + np.random.default_rng(0).uniform(-0.2, 0.2, (6, 7))
    hands = np.stack([posture(row, HAND).pose for row in q])
    chain = chain_of()
    chain = replace(
        chain, hands=hands if mount == "hand" else inverses(hands), arm=Arm(q, HAND), inverted=mount == "base"
    )
    by_joints = chain._by_joints()
    for joint in range(5):
        step = np.zeros(18)
        step[13 + joint] = 1e-6
        there, back = chain.after(step).hands, chain.after(-step).hands
        for view in range(6):
            off = inverse(back[view]) @ there[view] / 2e-6
            found = (*off[:3, 3], off[2, 1], off[0, 2], off[1, 0])
            assert found == pytest.approx(by_joints[view, :, joint], abs=1e-4)


def test_a_view_reduced_to_a_step_of_its_hand_loses_nothing_of_the_camera() -> None:
    chain = chain_of(pixel_sd=0.0)
    linear = chain.linear()
    J, r = chain.by_camera_and_board()[:, :, :12].reshape(-1, 12), chain.residuals()[0].ravel()
    A, y = linear.A[:, :, :12], linear.y
    gram = np.einsum("nij,nik,nkl->jl", A, linear.information, A)
    assert gram == pytest.approx(J.T @ J, rel=1e-9)
    assert np.einsum("nij,nik,nk->j", A, linear.information, y) == pytest.approx(J.T @ r, rel=1e-6)


@pytest.mark.parametrize("mount", ["hand", "base"])
def test_the_fit_over_pixels_finds_camera_and_board(mount: str) -> None:
    start = chain_of(mount, count=10, pixel_sd=0.0)
    assert error_of(start.X)[0] > 5.0
    found = fit_pixels(start, 0.5)
    assert error_of(found.X) == pytest.approx((0, 0), abs=1e-3)
    assert error_of(found.Z, T_BASE_BOARD) == pytest.approx((0, 0), abs=1e-3)


def test_some_of_the_views_are_a_chain_too() -> None:
    chain, some = chain_of(), chain_of().only(np.array((1, 4)))
    assert len(some.hands) == 2 and set(some.view.tolist()) == {0, 1}
    assert some.residuals()[0][some.view == 1] == pytest.approx(chain.residuals()[0][chain.view == 4])


def test_joint_angles_make_the_hands_that_they_should() -> None:
    made = scene(4, 4)
    q = joints_of(made.truth_hands)
    arm = replace(chain_of(seed=4, count=4), arm=Arm(q - np.radians((0, 1, -1, 0, 0, 0, 0)), HAND))
    step = np.zeros(18)
    step[13:15] = np.radians((1, -1))
    assert arm.after(step).hands == pytest.approx(made.truth_hands, abs=1e-6)
