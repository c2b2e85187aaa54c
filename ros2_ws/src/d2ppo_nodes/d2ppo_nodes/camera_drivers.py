"""Which driver a camera node's parameters ask for, and how large its policy sees."""

from pathlib import Path

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.inference.camera import CameraDriver
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.setting import TASK, seen_camera, task_of

_SIM_SIZE = 96, 96


def bundle_name(node: StackNode) -> str:
    """The bundle that was named, or else a simulated task's; empty for none."""
    task = task_of(node) if node.text("driver") == "sim" else None
    return node.text("bundle") or (task.bundle if task else "")


def policy_size(bundle: str) -> tuple[int, int] | None:
    """Width and height of the pictures that a bundle's policy was trained with; None where it sees none."""
    cameras = load_bundle(bundle).manifest.image_observations if bundle else ()
    return (cameras[0].shape[1], cameras[0].shape[0]) if cameras else None


def drawn_size(node: StackNode) -> tuple[int, int] | None:
    """Width and height that a simulated camera was asked for; None where that was left open.

    Raises:
        ConfigError: one of both was left open.
    """
    width, height = node.integer("width"), node.integer("height")
    if bool(width) != bool(height):
        raise ConfigError(f"parameters width and height go together, got {width} and {height}")
    return (width, height) if width else None


def make_driver(node: StackNode, seen: tuple[int, int] | None) -> CameraDriver:
    """Return the driver that the parameters ask for, not connected.

    Args:
        node: of the camera.
        seen: width and height of what the policy sees, which a simulated camera draws; None: it sees nothing.

    Raises:
        ConfigError: the parameters contradict each other.
    """
    kind = node.text("driver")
    if kind == "sim":
        return _sim(node, seen)
    name = node.text("name") or "wrist"
    if kind == "file":
        return _file(node, name)
    width, height = node.integer("stream_width"), node.integer("stream_height")
    if kind == "v4l2":
        from d2ppo_core.drivers.opencv_camera import V4l2Camera, V4l2Config

        hz, serial = node.integer("stream_hz"), node.text("serial")
        device = node.text("device")
        return V4l2Camera(V4l2Config(name=name, device=device, width=width, height=height, hz=hz, serial=serial))
    from d2ppo_core.drivers.realsense import RealSenseCamera, RealSenseConfig
    from d2ppo_core.drivers.realsense_options import RealSenseOptions

    return RealSenseCamera(
        RealSenseConfig(
            name=name,
            serial=node.text("serial"),
            width=width,
            height=height,
            hz=node.integer("stream_hz"),
            options=RealSenseOptions(
                exposure=node.number("exposure"),
                gain=node.number("gain"),
                white_balance_k=node.number("white_balance_k"),
                emitter=node.text("emitter"),
            ),
        )
    )


def _sim(node: StackNode, seen: tuple[int, int] | None) -> CameraDriver:
    from sim.world.camera import SimCamera

    width, height = drawn_size(node) or seen or _SIM_SIZE
    return SimCamera(
        name=node.text("name") or seen_camera(node, bundle_name(node)),
        width=width,
        height=height,
        task=node.text("task") or TASK,
        camera=node.text("camera"),
        robot_address=node.text("robot_address"),
        markers=node.text("markers"),
    )


def _file(node: StackNode, name: str) -> CameraDriver:
    from d2ppo_core.drivers.opencv_camera import VideoFile
    from d2ppo_core.drivers.realsense import RECORDINGS, RealSenseCamera, RealSenseConfig

    if not node.text("file"):
        raise ConfigError("parameter file must name a video or a recording of librealsense with driver:=file")
    path = Path(node.text("file"))
    if path.suffix in RECORDINGS:
        return RealSenseCamera(RealSenseConfig(name=name, file=path))
    return VideoFile(name, path, serial=node.text("serial"))
