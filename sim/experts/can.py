"""The demonstrator of Can: grasp it, carry it over its bin, lower it, let go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from sim.experts.arm import ArmView, BodyView
from sim.experts.pick import careful, leaning, raise_to, reach_down
from sim.experts.primitives import CLOSE, FIRM_GAIN, OPEN, Command, Goal, Pull, move_to, wait
from sim.experts.scene import Scene
from sim.experts.style import Style
from sim.tasks.can import BIN_SIZE_M, GOAL_BIN_M

MAX_ATTEMPTS = 3
CLOSING_STEPS = 7
OPENING_STEPS = 5
GRASP_ABOVE_CENTRE_M = 0.02
CARRYING_HEIGHT_M = 1.03
"""Of the hand: the can then clears the wall between the bins."""
LOWERED_HEIGHT_M = 0.92
LEAVING_HEIGHT_M = 0.98
LOWERING_STEPS, LEAVING_STEPS = 16, 20
"""At most: over the far bin the hand may hang a little off its goal, which does no harm."""
HELD_ABOVE_M = 0.95
"""The can stands on the floor of its bin below this height."""
_NEARER_M = (0.035, 0.06)
"""The middle of the can's quarter lies where the arm is stretched out: beyond what an arm with limits can do."""
GOAL_M = (
    GOAL_BIN_M[0] + BIN_SIZE_M[0] / 4 - _NEARER_M[0],
    GOAL_BIN_M[1] + BIN_SIZE_M[1] / 4 - _NEARER_M[1],
    GOAL_BIN_M[2],
)
"""In the can's quarter of the goal bin, so near to the arm that its elbow stays bent."""
SECOND_YAW_RAD = 0.7
"""A can may be grasped from any side; demonstrators have two favourites."""
PLACE_SPREAD, MAX_SPREAD_M = 0.3, 0.02
"""Share of the style's detour by which the can lands beside its goal, and the most of it."""


def can(scene: Scene, style: Style) -> Iterator[Command]:
    """Yield one command per control step until the can stands in its bin or the attempts are used up."""
    arm, thing = ArmView(scene), BodyView(scene, "Can_main")
    goal_m = np.array(GOAL_M)
    if style.via_m is not None:
        goal_m[:2] += np.clip(PLACE_SPREAD * style.via_m[:2], -MAX_SPREAD_M, MAX_SPREAD_M)
    home_rad = arm.yaw_rad + (SECOND_YAW_RAD if style.second_choice else 0.0)
    grasp_m = np.array([0.0, 0.0, GRASP_ABOVE_CENTRE_M])
    for _ in range(MAX_ATTEMPTS):
        yaw_rad = home_rad + style.yaw_offset_rad
        yield from reach_down(
            arm,
            lambda: thing.position_m + grasp_m,
            partial(float, yaw_rad),
            style,
            offset_m=style.grasp_offset_m,
            lean=True,
        )
        yield from wait(OPEN, style.pause_steps)
        yield from wait(CLOSE, CLOSING_STEPS)
        carry_m = CARRYING_HEIGHT_M + 0.3 * style.hover_m
        yield from raise_to(arm, carry_m, yaw_rad, style)
        if thing.position_m[2] > HELD_ABOVE_M:
            yield from _place(arm, thing, style, goal_m, yaw_rad, carry_m)
            if scene.is_solved():
                return
        style = careful(style)


def _place(
    arm: ArmView, thing: BodyView, style: Style, goal_m: np.ndarray, yaw_rad: float, carry_m: float
) -> Iterator[Command]:
    """Over the bin, down, open, up."""
    approach = leaning(arm, goal_m)

    def over(height_m: float) -> Goal:
        hand_from_can_m = arm.position_m - thing.position_m
        return Goal(np.array([*(goal_m[:2] + hand_from_can_m[:2]), height_m]), yaw_rad, approach)

    move = partial(move_to, arm, gripper=CLOSE, turn_speed=style.turn_speed, gain=FIRM_GAIN, pull=Pull())
    yield from move(lambda: over(carry_m), speed=style.speed, tolerance_m=0.03, max_steps=100)
    yield from raise_to(arm, LOWERED_HEIGHT_M, yaw_rad, style, max_steps=LOWERING_STEPS, approach=approach)
    yield from wait(OPEN, OPENING_STEPS)
    yield from raise_to(arm, LEAVING_HEIGHT_M, yaw_rad, style, OPEN, max_steps=LEAVING_STEPS, approach=approach)
