"""Stack the red cube on the green one, and let go."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import numpy as np

from d2ppo_core.objects import AT_HAND, POSITION, QUAT, ObjectPart
from sim.experts.arm import ArmView, BodyView
from sim.experts.lift import grasp_yaw
from sim.experts.pick import careful, raise_to, reach_down
from sim.experts.primitives import CLOSE, OPEN, Command, Goal, move_to, wait
from sim.experts.scene import Scene
from sim.experts.style import Style
from sim.tasks.own import OwnTask
from sim.tasks.taps import Rows
from sim.tasks.training import Array, Start, draw_arms, yaw_quat_wxyz

TABLE_M, RED_HALF_M, GREEN_HALF_M = 0.8, 0.02, 0.025
STACKED_M = TABLE_M + 2 * GREEN_HALF_M + RED_HALF_M
"""Height of the red cube's middle when it is where it belongs."""
OFF_CENTRE_M, LEVEL_M, RELEASED_M = 0.025, 0.008, 0.05
TOUCHING_M = 0.003


@dataclass(frozen=True, kw_only=True)
class StackCubes(OwnTask):
    """Two cubes before the arm, the red one on its right."""

    def draw(self, rng: np.random.Generator) -> Start:
        """Put the cubes on the table; a turn of about 90 degrees keeps the signs of the quaternions (see the page)."""

        def lie(low_y_m: float, high_y_m: float, half_m: float) -> Array:
            x_m, y_m = rng.uniform(-0.08, 0.04), rng.uniform(low_y_m, high_y_m)
            yaw_rad = math.pi / 2 + rng.uniform(-0.4, 0.4)
            return np.array([x_m, y_m, TABLE_M + half_m, *yaw_quat_wxyz(yaw_rad)])

        red, green = lie(-0.14, -0.06, RED_HALF_M), lie(0.04, 0.12, GREEN_HALF_M)
        return Start(arm_q_rad=draw_arms(rng, 1), objects={"red_joint": red, "green_joint": green})

    def success(self, taps: Rows) -> np.ndarray:
        """Whether the red cube lies on the green one and the hand is away."""
        red, green, hand = taps["red_pos"], taps["green_pos"], taps["robot0_eef_pos"]
        over = np.linalg.norm((red - green)[..., :2], axis=-1) < OFF_CENTRE_M
        level = np.abs(red[..., 2] - STACKED_M) < LEVEL_M
        return over & level & (np.linalg.norm(hand - red, axis=-1) > RELEASED_M)


def expert(scene: Scene, style: Style) -> Iterator[Command]:
    """Yield one command per control step: grasp the red cube, carry it over the green one, lower it, let go."""
    arm, red, green = ArmView(scene), BodyView(scene, "red_cube"), BodyView(scene, "green_cube")
    for _ in range(3):
        yaw_rad = grasp_yaw(arm.yaw_rad, red.yaw_rad, second_choice=False) + style.yaw_offset_rad
        offset_m = style.grasp_offset_m * [1.0, 1.0, 0.5]
        yield from reach_down(arm, lambda: red.position_m, partial(float, yaw_rad), style, offset_m=offset_m)
        yield from wait(OPEN, style.pause_steps)
        yield from wait(CLOSE, 7)
        yield from raise_to(arm, STACKED_M + 0.08, yaw_rad, style)
        if red.position_m[2] > STACKED_M:
            yield from place(arm, red, green, style, yaw_rad)
            if scene.is_solved():
                return
        style = careful(style)


def place(arm: ArmView, red: BodyView, green: BodyView, style: Style, yaw_rad: float) -> Iterator[Command]:
    """Over the green cube, down, open, up; relative to the red cube, however it sits between the fingers."""

    def over(height_m: float) -> Goal:
        target_m = np.array([*green.position_m[:2], height_m])
        return Goal(arm.position_m + target_m - red.position_m, yaw_rad)

    move = partial(move_to, arm, gripper=CLOSE, turn_speed=style.turn_speed)
    yield from move(lambda: over(STACKED_M + 0.04), speed=min(style.speed, 0.7), tolerance_m=0.006, max_steps=100)
    lower = move(lambda: over(STACKED_M - 0.008), speed=0.3, tolerance_m=0.0, max_steps=30)  # gently: FR3s feel it
    yield from takewhile(lambda _: red.position_m[2] > STACKED_M + TOUCHING_M, lower)  # let go by one sign alone
    yield from wait(OPEN, 6)
    yield from raise_to(arm, STACKED_M + 0.12, yaw_rad, style, OPEN, max_steps=20)


TASK = StackCubes(
    bodies={"red": "red_cube", "green": "green_cube"},
    recipe=(
        ObjectPart(name="red", what=POSITION),
        ObjectPart(name="red", what=QUAT),
        ObjectPart(name="red", what=POSITION, frame=AT_HAND),
        ObjectPart(name="green", what=POSITION),
        ObjectPart(name="green", what=POSITION, frame=AT_HAND),
    ),
    horizon_steps=300,
    expert=expert,
)
