"""Pictures of a printed board through a camera on a hand: a textured plane, rendered by MuJoCo."""

from pathlib import Path

import cv2
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from calibration.board import cv_board
from d2ppo_core.calibrated import Board, Intrinsics
from d2ppo_core.geometry import transform_from
from sim.rendering.offscreen import OffscreenRenderer

WIDTH, HEIGHT, FOVY_DEG = 640, 480, 45.0
FOCAL_PX = float(HEIGHT / 2 / np.tan(np.radians(FOVY_DEG / 2)))
CAMERA = Intrinsics(
    width_px=WIDTH, height_px=HEIGHT, fx_px=FOCAL_PX, fy_px=FOCAL_PX, cx_px=(WIDTH - 1) / 2, cy_px=(HEIGHT - 1) / 2
)
"""What MuJoCo's camera is, with the centre of the first pixel at (0, 0)."""
MARGIN = 1
"""Squares of white paper around the board."""
OPENGL = np.diag((1.0, -1.0, -1.0, 1.0))
"""MuJoCo's cameras look along -z, with y up."""
OVERSAMPLED = 2

WORLD = """
<mujoco>
  <asset>
    <texture name="sheet" type="2d" file="{file}"/>
    <material name="sheet" texture="sheet" specular="0" shininess="0" reflectance="0" emission="0.5"/>
  </asset>
  <visual><headlight ambient="0.5 0.5 0.5" diffuse="0.1 0.1 0.1" specular="0 0 0"/></visual>
  <worldbody>
    <geom name="paper" type="plane" size="{half_x} {half_y} 0.1" pos="{pos}" quat="{quat}" material="sheet" group="1"/>
    <body name="camera" mocap="true"><camera name="wrist" fovy="{fovy}"/></body>
  </worldbody>
</mujoco>
"""


def quat_wxyz(transform: np.ndarray) -> np.ndarray:
    return np.roll(Rotation.from_matrix(transform[:3, :3]).as_quat(), 1)


class Studio:
    """A board that lies somewhere, and a camera that goes anywhere."""

    def __init__(self, board: Board, T_base_board: np.ndarray, folder: Path) -> None:
        squares = np.array((board.columns, board.rows)) + 2 * MARGIN
        pixels = 100 * squares
        picture = cv_board(board).generateImage(tuple(map(int, pixels)), marginSize=100 * MARGIN)
        cv2.imwrite(str(folder / "sheet.png"), picture)
        # the plane's texture runs along x and, from the top row down, along -y: the board's frame turned about x
        size_m = squares * board.square_m
        middle = T_base_board @ transform_from(
            (*(size_m / 2 - MARGIN * board.square_m), 0.0), Rotation.from_euler("x", 180, degrees=True)
        )
        xml = WORLD.format(
            file=folder / "sheet.png", half_x=size_m[0] / 2, half_y=size_m[1] / 2, fovy=FOVY_DEG,
            pos=" ".join(map(str, middle[:3, 3])), quat=" ".join(map(str, quat_wxyz(middle))),
        )  # fmt: skip
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.renderer = OffscreenRenderer(self.model, OVERSAMPLED * WIDTH, OVERSAMPLED * HEIGHT)

    def picture(self, T_base_camera: np.ndarray) -> np.ndarray:
        """What the camera sees, (H, W) grey; each pixel is the mean of several, as a sensor's."""
        pose = T_base_camera @ OPENGL
        self.data.mocap_pos[0], self.data.mocap_quat[0] = pose[:3, 3], quat_wxyz(pose)
        mujoco.mj_forward(self.model, self.data)
        grey = cv2.cvtColor(self.renderer.render(self.data, "wrist"), cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
