"""The demonstrators of Transport: one opens the bin and hands the hammer over, the other clears the target bin.

Both are generators for one arm; what one does when the other has done something they read from shared `Signals`, each
of which can be seen in the world (where the hammer is, whether fingers are closed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sim.experts.arm import ArmView, wrap_angle
from sim.experts.hand import Hand, Vector, at
from sim.experts.lift import grasp_yaw
from sim.experts.primitives import CLOSE, OPEN, Command, Goal
from sim.experts.scene import Scene
from sim.experts.style import Style
from sim.experts.transport_view import TransportView

OPENING_STEPS = 6
CLOSING_STEPS = 12
STEADY = 4.0
"""Fingers close to another hand move with care: noise is divided by this."""
PATIENCE_STEPS = 400
"""The longest that one arm waits for the other."""
SAFE_HEIGHT_M = 1.10
LIFTED_LID_M, LIFTED_HAMMER_M, LIFTED_TRASH_M = 1.0, 0.95, 0.93
"""Above these the thing is in the hand."""
LID_DEPTH_M = np.array([0.0, 0.0, 0.012])
HANDLE_DEPTH_M = np.array([0.0, 0.0, 0.008])
"""Grasps reach so far below the middle of a handle."""
LID_DOWN_M = np.array([-0.17, -0.46, 0.87])
"""Beside the bin."""
GIVER_GRIP_M, TAKER_GRIP_M = -0.045, 0.055
"""Where the hands grip the hammer: from the middle of its handle towards its head, which is heavy."""
HALFWAY_M = np.array([0.1, -0.3, 1.12])
MEETING_M = np.array([0.0, 0.0, 1.08])
"""Where the middle of the handle is handed over."""
MEETING_SPREAD = 0.2
"""Share of the style's detour by which two demonstrators meet elsewhere."""
TOWARDS_OTHER = np.array([0.0, np.sqrt(0.5), -np.sqrt(0.5)])
"""Approach of the giver's hand: pointing down it would have to stretch the arm to its limit."""
FROM_OTHER = TOWARDS_OTHER * [1.0, -1.0, 1.0]
WAITING_M = np.array([0.0, 0.28, 1.17])
UPRIGHT_M = np.array([-0.12, 0.33, 1.12])
"""Where the taker's hand turns down again."""
ASIDE_M = np.array([0.0, -0.4, 1.2])


@dataclass
class Signals:
    """What the arms see of each other."""

    offered: bool = False
    taken: bool = False
    released: bool = False


def transport(scene: Scene, style: Style) -> Iterator[Command]:
    """Yield one command (14,) per control step until both arms are done."""
    signals, view = Signals(), TransportView(scene)
    hands = [Hand(ArmView(scene, i), style) for i in (0, 1)]
    plans = [giver(hands[0], view, signals), taker(hands[1], view, signals)]
    finished = [False, False]
    while True:
        latest = []
        for i, (plan, hand) in enumerate(zip(plans, hands, strict=True)):
            command = next(plan, None)
            finished[i] = command is None
            latest.append(command or hand.rest())
        if all(finished):
            return
        gains = np.concatenate([np.broadcast_to(command.noise_gain, 7) for command in latest])
        yield Command(np.concatenate([command.action for command in latest]), gains)


def giver(hand: Hand, view: TransportView, signals: Signals) -> Iterator[Command]:
    """Robot 0: lid off, hammer out, offer it, let go when the other has it, back off."""
    along_rad = hand.nearest_yaw(0.0, np.pi)
    yield from hand.pick(lambda: view.lid_m - LID_DEPTH_M, lambda: along_rad, lambda: view.lid_m[2] > LIFTED_LID_M)
    for target_m in (LID_DOWN_M + [0.0, 0.0, 0.23], LID_DOWN_M):
        yield from hand.go(at(target_m, along_rad), CLOSE, tolerance_m=0.03, max_steps=60)
    yield from hand.stay(OPEN, OPENING_STEPS)
    yield from hand.rise(1.05, OPEN)

    def across() -> float:
        return hand.nearest_yaw(view.handle_yaw_rad + np.pi / 2, np.pi)

    def grip_m() -> Vector:
        return np.asarray(view.handle_m + GIVER_GRIP_M * view.handle_axis - HANDLE_DEPTH_M)

    yield from hand.pick(grip_m, across, lambda: view.handle_m[2] > LIFTED_HAMMER_M)

    detour_m = np.zeros(3) if hand.style.via_m is None else hand.style.via_m
    meeting_m = MEETING_M + np.clip(MEETING_SPREAD * detour_m, -0.02, 0.02)

    def offer() -> Goal:
        turn_rad = wrap_angle(-view.handle_yaw_rad)
        shift_m = meeting_m - view.handle_m
        return Goal(hand.arm.position_m + shift_m, hand.arm.yaw_rad + turn_rad, TOWARDS_OTHER)

    def halfway() -> Goal:
        return Goal(HALFWAY_M, offer().yaw_rad)

    yield from hand.go(halfway, CLOSE, tolerance_m=0.05, tolerance_rad=0.2, max_steps=70)
    yield from hand.go(offer, CLOSE, tolerance_m=0.025, tolerance_rad=0.12, max_steps=120)
    signals.offered = True
    yield from hand.stay(CLOSE, PATIENCE_STEPS, until=lambda: signals.taken)
    yield from hand.stay(OPEN, OPENING_STEPS)
    signals.released = True
    back_m = hand.arm.position_m - 0.12 * TOWARDS_OTHER
    yield from hand.go(lambda: Goal(back_m, hand.arm.yaw_rad, TOWARDS_OTHER), OPEN, tolerance_m=0.03, max_steps=20)
    yield from hand.go(at(ASIDE_M, hand.arm.yaw_rad), OPEN, tolerance_m=0.05, max_steps=40)


def taker(hand: Hand, view: TransportView, signals: Signals) -> Iterator[Command]:
    """Robot 1: trash into its bin, take the hammer, lay it into the bin that is now free."""
    turned_rad = grasp_yaw(hand.arm.yaw_rad, view.trash_yaw_rad, second_choice=hand.style.second_choice)

    def beside_cube() -> float:
        return turned_rad + wrap_angle(view.trash_yaw_rad - turned_rad, np.pi / 2)

    yield from hand.pick(lambda: view.trash_m, beside_cube, lambda: view.trash_m[2] > LIFTED_TRASH_M)
    along_rad = hand.nearest_yaw(0.0, np.pi)
    for height_m in (1.06, 0.95):
        over_m = np.array([*view.trash_bin_m[:2], height_m])
        yield from hand.go(at(over_m, along_rad), CLOSE, tolerance_m=0.03)
    yield from hand.stay(OPEN, OPENING_STEPS)
    yield from hand.rise(SAFE_HEIGHT_M, OPEN)
    yield from hand.go(at(WAITING_M, along_rad), OPEN, tolerance_m=0.04, max_steps=60)
    yield from hand.stay(OPEN, PATIENCE_STEPS, until=lambda: signals.offered)
    yield from _take(hand, view, signals)
    yield from _lay_down(hand, view)


def _take(hand: Hand, view: TransportView, signals: Signals) -> Iterator[Command]:
    """Close the fingers around the offered handle, near its head."""

    def before(distance_m: float) -> Callable[[], Goal]:
        def goal() -> Goal:
            grip_m = view.handle_m + TAKER_GRIP_M * view.handle_axis
            across_rad = hand.nearest_yaw(view.handle_yaw_rad + np.pi / 2, np.pi)
            return Goal(grip_m - distance_m * FROM_OTHER, across_rad, FROM_OTHER)

        return goal

    yield from hand.go(before(0.15), OPEN, tolerance_m=0.02, tolerance_rad=0.1, max_steps=90)
    yield from hand.go(
        before(0.10), OPEN, speed=0.5, tolerance_m=0.015, tolerance_rad=0.1, max_steps=60, steadiness=STEADY
    )
    yield from hand.go(before(0.005), OPEN, speed=0.5, tolerance_m=0.012, max_steps=60, steadiness=STEADY)
    yield from hand.stay(CLOSE, CLOSING_STEPS)
    signals.taken = True
    yield from hand.stay(CLOSE, PATIENCE_STEPS, until=lambda: signals.released)


def _lay_down(hand: Hand, view: TransportView) -> Iterator[Command]:
    """Away from the other arm, over the bin, down, open."""
    yaw_rad = hand.arm.yaw_rad
    away_m = hand.arm.position_m + [0.0, 0.15, 0.04]
    yield from hand.go(lambda: Goal(away_m, yaw_rad, FROM_OTHER), CLOSE, tolerance_m=0.05, max_steps=40)
    yield from hand.go(at(UPRIGHT_M, yaw_rad), CLOSE, tolerance_m=0.05, tolerance_rad=0.3, max_steps=70)

    def over(height_m: float) -> Callable[[], Goal]:
        def goal() -> Goal:
            beside_m = (view.target_bin_m + hand.arm.position_m - view.handle_m)[:2]
            return Goal(np.array([*beside_m, height_m]), yaw_rad)

        return goal

    yield from hand.go(over(1.08), CLOSE, tolerance_m=0.03, max_steps=70)
    yield from hand.go(over(0.90), CLOSE, speed=0.6, tolerance_m=0.03, max_steps=40)
    yield from hand.stay(OPEN, 10)
    yield from hand.rise(1.05, OPEN)
