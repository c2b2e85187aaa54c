"""Pictures of a recorded episode, drawn afterwards from its positions: recording costs the running stack nothing."""

from collections.abc import Iterator, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.rendering.offscreen import OffscreenRenderer
from sim.tasks import task_named


def render_positions(
    task_name: str, positions: Sequence[Sequence[float]], camera: str, width: int, height: int
) -> Iterator[NDArray[np.uint8]]:
    """Draw a world at each of these generalised positions.

    Args:
        task_name: Task whose world it is.
        positions: MuJoCo ``qpos`` of each frame.
        camera: Name of the camera on the graph, e.g. ``scene``.
        width: Width of a frame, px.
        height: Height of a frame, px.

    Yields:
        (height, width, 3) uint8 RGB frames.

    Raises:
        WorldError: The task is unknown or rendering is not possible.
    """
    task = task_named(task_name)
    model = mujoco.MjModel.from_xml_path(str(task.model_path))
    data = mujoco.MjData(model)
    with OffscreenRenderer(model, width, height) as renderer:
        for qpos in positions:
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            yield renderer.render(data, task.cameras[camera])
