"""A world's model whose objects wear printed markers, for its cameras: what moves how stays as it is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array, inverse
from d2ppo_core.runtime.perception.markers import Marker, Markers
from d2ppo_core.runtime.perception.mount import BASE, HAND, Mount
from sim.rendering.offscreen import VISUAL_GEOM_GROUP
from sim.tasks.base import Task

_CELL_PX = 32
_THICKNESS_M = 2e-4


def marked_model(task: Task, markers: Markers | None) -> mujoco.MjModel:
    """Compile a task's world, with weightless plates on its objects where a file says that markers are.

    Raises:
        ConfigError: the markers' file names an object that the task does not have.
    """
    if markers is None:
        return mujoco.MjModel.from_xml_path(str(task.model_path))
    spec = mujoco.MjSpec.from_file(str(task.model_path))
    bodies: Mapping[str, str] = task.objects
    for thing in markers.objects:
        if thing.name not in bodies:
            known = ", ".join(bodies) or "none"
            raise ConfigError(f"markers are on {thing.name}, task {task.name} has the objects {known}")
        for marker in thing.markers:
            _put(spec, bodies[thing.name], marker, markers)
    return spec.compile()


def _put(spec: mujoco.MjSpec, body: str, marker: Marker, markers: Markers) -> None:
    picture, name = marker_picture(markers, marker.id), f"marker{marker.id}"
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
    texture.width = texture.height = len(picture)
    texture.data = np.repeat(picture[..., None], 3, axis=-1).tobytes()
    material = spec.add_material(name=name, specular=0.0, reflectance=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    half_m = marker.size_m / 2.0 * (markers.cells + 2) / markers.cells
    middle = marker.T_object_marker @ np.array([0.0, 0.0, -_THICKNESS_M / 2.0, 1.0])  # its surface is the marker
    spec.body(body).add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half_m, half_m, _THICKNESS_M / 2.0],
        pos=middle[:3],
        quat=Rotation.from_matrix(marker.T_object_marker[:3, :3]).as_quat(scalar_first=True),
        material=name,
        group=VISUAL_GEOM_GROUP,
        contype=0,
        conaffinity=0,
        mass=0.0,
    )


def camera_mount(task: Task, name: str) -> Mount:
    """Where a task's camera is: in the base frame of the first arm, or on its hand.

    Raises:
        ConfigError: the task has no such camera.
    """
    if name not in task.cameras:
        raise ConfigError(f"task {task.name} has no camera {name!r}; it has {', '.join(sorted(task.cameras))}")
    model = mujoco.MjModel.from_xml_path(str(task.model_path))
    data, camera = mujoco.MjData(model), model.camera(task.cameras[name])
    mujoco.mj_forward(model, data)
    seen = _pose(data.cam_xpos[camera.id], data.cam_xmat[camera.id])
    seen[:3, 1:3] *= -1.0  # MuJoCo's cameras look along -z, with y up
    if int(camera.bodyid[0]) == 0:
        base = data.body("robot0_base")
        return Mount(BASE, inverse(_pose(base.xpos, base.xmat)) @ seen)
    hand = data.site("O_T_EE")
    return Mount(HAND, inverse(_pose(hand.xpos, hand.xmat)) @ seen)


def _pose(position: NDArray[np.float64], matrix: NDArray[np.float64]) -> Array:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = matrix.reshape(3, 3), position
    return pose


def marker_picture(markers: Markers, number: int) -> NDArray[np.uint8]:
    """(n, n) grey: a marker as it is printed, with a white margin of one cell."""
    aruco = importlib.import_module("cv2").aruco
    dictionary = aruco.getPredefinedDictionary(getattr(aruco, f"DICT_{markers.dictionary}"))
    picture = aruco.generateImageMarker(dictionary, number, markers.cells * _CELL_PX, borderBits=1)
    return np.pad(np.asarray(picture, np.uint8), _CELL_PX, constant_values=255)
