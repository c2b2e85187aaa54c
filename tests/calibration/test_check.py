"""Whether three views tell a camera that moved from one that did not."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.chain import moved
from calibration.check import Verdict, check
from calibration.hand_eye import solve_hand_eye
from d2ppo_core.calibrated import Device, HandEyeFile, Pose, now_text
from d2ppo_core.errors import CalibrationError

from .synthetic import BOARD, CAMERA, T_BASE_BOARD, T_EE_CAMERA, detections_of, inverse, inverses, scene

STILL = np.zeros(6)
SHAKY = {"hand_m": 0.0003, "hand_rad": 0.0005}


def stored(mount: str = "hand", **noise: float) -> HandEyeFile:
    made = scene(1, mount=mount, **noise)
    found = solve_hand_eye(made.hands, made.detections, CAMERA, made.names, mount=mount)
    return HandEyeFile(
        made=now_text(), mount=mount, camera=Device(name="wrist"), robot=Device(name="fr3"),
        transform=Pose.of(found.chain.X), covariance=tuple(tuple(map(float, row)) for row in found.covariance),
        held_out_mm=found.held_out_mm, held_out_deg=found.held_out_deg, noise_px=found.noise.px,
        noise_hand_m=found.noise.hand_m, noise_hand_rad=found.noise.hand_rad, diversity=found.diversity,
        views=len(found.chain.hands), intrinsics=CAMERA, board=BOARD,
    )  # fmt: skip


def direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def judged(file: HandEyeFile, seed: int, step: np.ndarray, views: int = 3, **noise: float) -> Verdict:
    """Views by a camera that is a step beside its place, of a board that lies elsewhere now."""
    made = scene(5000 + seed, views, mount=file.mount, checking=True, **noise)
    hands = made.truth_hands if file.mount == "hand" else inverses(made.truth_hands)
    there = moved(T_EE_CAMERA, step)
    seen = detections_of(np.random.default_rng(seed), inverse(there) @ inverses(hands) @ T_BASE_BOARD, 0.3)
    elsewhere = moved(np.eye(4), np.array((0.1, -0.05, 0.0, 0.0, 0.0, 0.3)))
    bases = elsewhere @ made.hands if file.mount == "hand" else made.hands
    return check(file, bases, seen, made.names)


@pytest.mark.parametrize("mount", ["hand", "base"])
def test_a_camera_that_stayed_holds_and_one_that_moved_does_not(mount: str) -> None:
    file = stored(mount)
    still = judged(file, 0, STILL)
    assert still.holds and still.moved_mm < 4 * still.sd_mm and still.chance > 0.005
    by = judged(file, 0, np.array((0, 0.005, 0, 0, 0, 0)))
    assert not by.holds and by.moved_mm == pytest.approx(5.0, abs=4 * by.sd_mm) and by.chance < 1e-6
    turned = judged(file, 0, np.array((0, 0, 0, 0, 0, np.radians(1))))
    assert not turned.holds and turned.moved_deg == pytest.approx(1.0, abs=4 * turned.sd_deg)


def test_a_camera_that_was_knocked_far_off_is_noticed_too() -> None:
    assert not judged(stored(), 3, np.array((0.05, -0.03, 0.02, 0.2, -0.3, 0.4))).holds


def test_views_that_could_not_tell_are_refused_instead_of_reassuring() -> None:
    made = scene(9, 3, tilt_deg=3.0)
    with pytest.raises(CalibrationError, match=r"these views say where the camera is to .* times 5 mm only"):
        check(stored(), made.hands, made.detections, made.names)
    shaky = replace(stored(), noise_hand_m=0.003, noise_hand_rad=0.0001)
    made = scene(9, 3, tilt_deg=40.0)
    with pytest.raises(CalibrationError, match="times 5 mm only|in [0-9]+ of 100 cases only, wanted 95: tilt the hand"):
        check(shaky, made.hands, made.detections, made.names)
    with pytest.raises(CalibrationError, match="2 usable views, wanted 3"):
        check(stored(), made.hands[:2], made.detections[:2], made.names[:2])


def counts(noise: dict[str, float], views: int, runs: int) -> tuple[list[int], int, int]:
    """How often of some runs the stored calibration does not hold: camera still, 5 mm off, 1° off; runs; refused."""
    file, alarms, judged_runs, refused = stored(**noise), [0, 0, 0], 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        steps = (STILL, np.append(0.005 * direction(rng), STILL[:3]), np.append(STILL[:3], np.radians(direction(rng))))
        try:
            verdicts = [judged(file, seed, step, views, **noise) for step in steps]
        except CalibrationError:
            refused += 1
            continue
        judged_runs += 1
        alarms = [alarm + (not verdict.holds) for alarm, verdict in zip(alarms, verdicts, strict=True)]
    return alarms, judged_runs, refused


def test_a_few_runs_are_judged_rightly() -> None:
    alarms, runs, refused = counts({}, 3, 10)
    assert alarms == [0, runs, runs] and refused <= 3


@pytest.mark.long
@pytest.mark.parametrize(("noise", "views"), [({}, 3), (SHAKY, 6)], ids=["pixels", "pixels and hand"])
def test_of_a_hundred_runs_ninety_five_are_noticed_and_two_are_false_alarms_at_most(
    noise: dict[str, float], views: int
) -> None:
    alarms, runs, refused = counts(noise, views, 110)
    print(
        f"\n  {noise}: still {alarms[0]}, 5 mm {alarms[1]}, 1° {alarms[2]} of {runs}; {refused} refused as too similar"
    )
    assert runs >= 100
    assert alarms[0] <= 0.02 * runs and min(alarms[1:]) >= 0.95 * runs
