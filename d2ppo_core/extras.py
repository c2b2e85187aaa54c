"""Which optional part of the installation a module belongs to, so that its absence is a command and no traceback."""

from __future__ import annotations

from d2ppo_core.shipped import shipped

EXTRAS = {
    "cpu": ("onnxruntime",),
    "franka": ("franka", "franky"),
    "realsense": ("pyrealsense2",),
    "ros": (
        "rclpy", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "rcl_interfaces",
        "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "trajectory_msgs",
    ),
    "sim": ("mujoco", "h5py", "glfw", "numba", "OpenGL", "six", "tensorboardX", "termcolor"),
    "train": ("torch", "onnx", "onnxscript", "tensorboard"),
    "record": ("mcap", "mcap_ros2"),
    "calibration": ("cv2",),
    "analysis": ("sklearn",),
    "lerobot": ("pyarrow",),
    "panel": ("websockets",),
    "ray": ("ray",),
}  # fmt: skip
"""Extra -> modules that it brings, each named once, at the first extra that has it."""

WITHOUT_DEPENDENCIES = ("robosuite", "robomimic", "example_robot_data", "cmeel")


def install_line(extra: str) -> str:
    """Return the command that adds an extra to what is installed, from a checkout or a wheel."""
    return f"pip install 'd2ppo-panda[{extra}]'"


def robosuite_line() -> str:
    """Return the command that installs robosuite and what goes with it; its metadata asks for versions of long ago."""
    return f"pip install --no-deps -r {shipped('tools/requirements-no-deps.txt')}"


def how_to_get(module: str) -> str:
    """Return one line that says what is missing and how to get it; empty for a module that no extra brings."""
    top = module.partition(".")[0]
    if top in WITHOUT_DEPENDENCIES:
        return f"{top} is not installed here; run: {robosuite_line()}"
    for extra, modules in EXTRAS.items():
        if top in modules:
            return f"{top} is not installed here; run: {install_line(extra)}"
    return ""
