"""Transport: two arms open a bin, hand the hammer over into the target bin, and clear the trash from that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.tasks import ENV_NAMES
from d2ppo_core.objects import upper_half, xyzw
from sim.tasks.base import Task
from sim.tasks.robosuite_task import RobosuiteTask
from sim.tasks.taps import Rows, Tap, TapKind
from sim.tasks.training import Array, Start, draw_arms, yaw_quat_wxyz

TABLES_Y_M = (1.2 * -3 / 8, 1.2 * 3 / 8)
TABLE_HEIGHT_M = 0.8
TOLERANCE_M = 0.005
GAP_M = 0.001
BIN_X_M = 0.2
BIN_HEIGHT_M = 0.15
WALL_M = 0.01
LID_HALF_M = 0.02
TRASH_HALF_M = 0.02
LID_OFF_M = 0.15
"""The lid's handle is so far beside the middle of its bin."""
RAISED_M, IN_HAND_M, APART_M = 0.9, 0.12, 0.15
"""A hammer that is higher than its bin, so near to a hand, and so far from the other."""
TRASH_YAW_RAD = 0.3 * math.pi
PAYLOAD_PITCH_RAD = (math.pi / 2 - math.pi / 6, math.pi / 2 + math.pi / 6)
HANDLE_RADIUS_M, HANDLE_LENGTH_M = 0.015, 0.2
FLIPS = (np.array([0.5, -0.5, 0.5, -0.5]), np.array([-0.5, -0.5, -0.5, -0.5]))
OBJECTS = {
    "hammer": "payload_root",
    "trash": "trash_main",
    "lid": "transport_start_bin_lid_root",
    "target_bin": "transport_target_bin_root",
    "trash_bin": "transport_trash_bin_root",
}
_PAYLOAD_GEOMS = tuple(f"payload_{part}" for part in ("handle", "head", "neck", "face", "claw"))


@dataclass(frozen=True, kw_only=True)
class Transport(Task):
    """robosuite's TwoArmTransport."""

    @property
    def object_size(self) -> int:
        """Poses of hammer, trash and lid, two bins, two contacts, four positions relative to the hands."""
        return 41

    @property
    def objects(self) -> Mapping[str, str]:
        """Hammer, trash, lid and the two bins that things go into."""
        return OBJECTS

    @property
    def touches(self) -> Mapping[tuple[str, str], str]:
        """What lies on the floor of its bin."""
        return {("hammer", "target_bin"): "payload_in_target_bin", ("trash", "trash_bin"): "trash_in_trash_bin"}

    @property
    def success_taps(self) -> Mapping[str, Tap]:
        """Whether hammer and trash touch the floors of their bins."""
        return {
            "payload_in_target_bin": Tap(TapKind.TOUCH, ("transport_target_bin_base",), _PAYLOAD_GEOMS),
            "trash_in_trash_bin": Tap(TapKind.TOUCH, ("transport_trash_bin_base",), ("trash_g0",)),
        }

    @property
    def object_taps(self) -> Mapping[str, Tap]:
        """Poses of the movable things."""
        bodies = {"payload": OBJECTS["hammer"], "trash": OBJECTS["trash"], "lid_handle": OBJECTS["lid"]}.items()
        quats = {f"{name}_quat": Tap(TapKind.BODY_QUAT_WXYZ, (body,)) for name, body in bodies}
        return {
            **quats,
            "payload_pos": Tap(TapKind.BODY_POSITION, ("payload_root",)),
            "trash_pos": Tap(TapKind.BODY_POSITION, ("trash_main",)),
            "lid_handle_pos": Tap(TapKind.GEOM_POSITION, ("transport_start_bin_lid_handle",)),
            "target_bin_pos": Tap(TapKind.GEOM_POSITION, ("transport_target_bin_base",)),
            "trash_bin_pos": Tap(TapKind.GEOM_POSITION, ("transport_trash_bin_base",)),
            **self.success_taps,
        }

    def success(self, taps: Rows) -> NDArray[np.bool_]:
        """Whether both lie where they belong."""
        return np.asarray((taps["payload_in_target_bin"] > 0) & (taps["trash_in_trash_bin"] > 0))[..., 0]

    def object_state(self, taps: Rows) -> Array:
        """The observation `object`, (..., 41)."""
        parts: list[Array] = []
        for name in ("payload", "trash", "lid_handle"):
            parts += [taps[f"{name}_pos"], xyzw(upper_half(taps[f"{name}_quat"]))]
        parts += [taps[name] for name in ("target_bin_pos", "trash_bin_pos", *self.success_taps)]
        seen = ((0, "payload_pos"), (0, "lid_handle_pos"), (1, "payload_pos"), (1, "trash_pos"))
        parts += [taps[thing] - taps[f"robot{arm}_eef_pos"] for arm, thing in seen]
        return np.concatenate(parts, axis=-1)

    def stages(self, observation: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
        """The lid lies beside, the hammer is up in one hand, then in the other; both things are in their bins."""
        object_state = observation["object"]
        hammer, lid, touching = object_state[..., :3], object_state[..., 14:17], object_state[..., 27:29] > 0
        to_giver, to_taker = (np.linalg.norm(object_state[..., at : at + 3], axis=-1) for at in (29, 35))
        raised = hammer[..., 2] > RAISED_M
        beside_m = np.linalg.norm(lid[..., :2] - (BIN_X_M, TABLES_Y_M[0]), axis=-1)
        return {
            "lid_off": np.asarray(beside_m > LID_OFF_M),
            "hammer_held": np.asarray(raised & (to_giver < IN_HAND_M)),
            "handed_over": np.asarray(raised & (to_taker < IN_HAND_M) & (to_giver > APART_M)),
            "trash_in_bin": np.asarray(touching[..., 1]),
            "hammer_in_bin": np.asarray(touching[..., 0]),
        }

    def draw(self, rng: np.random.Generator) -> Start:
        """Bins nearly at fixed places; a hammer of random head, tilt and side; trash at a random yaw."""
        for fixed in (HANDLE_RADIUS_M, HANDLE_LENGTH_M, 150.0, 4.0):  # size, density, friction: drawn, yet always so
            rng.uniform(fixed, fixed)
        head = rng.uniform(HANDLE_RADIUS_M, HANDLE_RADIUS_M * 1.2)
        arms = draw_arms(rng, 2)
        start_bin = _spot(rng, BIN_X_M, 0)
        rng.uniform(0.0, 0.0)
        rng.uniform(size=3)  # the lid's place and yaw, which are then those of the bin
        rng.uniform(size=2)  # the hammer's place likewise
        payload_quat = _payload_quat(rng)
        target_bin = _spot(rng, -BIN_X_M, 1)
        rng.uniform(0.0, 0.0)
        rng.uniform(size=2)
        trash_quat = yaw_quat_wxyz(rng.uniform(-TRASH_YAW_RAD, TRASH_YAW_RAD))
        trash_bin = _spot(rng, BIN_X_M, 1)
        rng.uniform(0.0, 0.0)
        upright, on_table = (1.0, 0.0, 0.0, 0.0), GAP_M + TABLE_HEIGHT_M
        poses = {
            "transport_start_bin_joint0": (*start_bin, on_table + BIN_HEIGHT_M / 2, *upright),
            "transport_start_bin_lid_joint0": (*start_bin, on_table + LID_HALF_M + BIN_HEIGHT_M, *upright),
            "payload_joint0": (*start_bin, on_table + HANDLE_RADIUS_M + WALL_M, *payload_quat),
            "transport_target_bin_joint0": (*target_bin, on_table + BIN_HEIGHT_M / 2, *upright),
            "trash_joint0": (*target_bin, on_table + TRASH_HALF_M + WALL_M, *trash_quat),
            "transport_trash_bin_joint0": (*trash_bin, on_table + BIN_HEIGHT_M / 2, *upright),
        }
        objects = {joint: np.array(pose, np.float64) for joint, pose in poses.items()}
        return Start(arm_q_rad=arms, objects=objects, geoms=hammer_geoms(head))


def hammer_geoms(head_m: float) -> dict[str, dict[str, tuple[float, ...]]]:
    """Sizes and places of the hammer's parts that follow from the half size of its head."""
    height = HANDLE_LENGTH_M / 2.0 + head_m
    return {
        "payload_head": {"size": (head_m * 2, head_m, head_m), "pos": (0.0, 0.0, height)},
        "payload_neck": {"size": (head_m * 0.8, head_m * 0.2), "pos": (head_m * 2.2, 0.0, height)},
        "payload_face": {"size": (head_m, head_m * 0.4), "pos": (head_m * 2.8, 0.0, height)},
        "payload_claw": {
            "size": (head_m * 0.7072, head_m * 0.95, head_m * 0.7072),
            "pos": (-head_m * 2, 0.0, height),
        },
    }


def _spot(rng: np.random.Generator, x_m: float, table: int) -> tuple[float, float]:
    x = rng.uniform(x_m - TOLERANCE_M, x_m + TOLERANCE_M)
    y = rng.uniform(-TOLERANCE_M, TOLERANCE_M)
    return x, y + TABLES_Y_M[table]


def _payload_quat(rng: np.random.Generator) -> Array:
    """Pitch times a random flip as robosuite computes it: in single precision, and taking wxyz for xyzw."""
    pitch = rng.uniform(*PAYLOAD_PITCH_RAD)
    rng.random()  # robosuite asks for the random flip twice
    x1, y1, z1, w1 = math.cos(pitch / 2), 0.0, math.sin(pitch / 2), 0.0
    x0, y0, z0, w0 = FLIPS[0] if rng.random() >= 0.5 else FLIPS[1]
    product = (
        x1 * w0 + y1 * z0 - z1 * y0 + w1 * x0,
        -x1 * z0 + y1 * w0 + z1 * x0 + w1 * y0,
        x1 * y0 - y1 * x0 + z1 * w0 + w1 * z0,
        -x1 * x0 - y1 * y0 - z1 * z0 + w1 * w0,
    )
    return np.array(product, np.float32)


TRANSPORT = Transport(
    name="transport",
    robosuite=RobosuiteTask(
        env_name=ENV_NAMES["transport"], num_robots=2, cameras=("shouldercamera0", "shouldercamera1"), horizon_steps=800
    ),
    varied_body="payload_root",
    arms=("left", "right"),
    cameras={
        "left_shoulder": "shouldercamera0",
        "right_shoulder": "shouldercamera1",
        "left_wrist": "robot0_eye_in_hand",
        "right_wrist": "robot1_eye_in_hand",
        "scene": "agentview",
    },
    cells=("sim_transport_left", "sim_transport_right"),
)
