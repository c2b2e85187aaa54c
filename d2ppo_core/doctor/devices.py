"""What hangs on the machine: headless rendering, cameras, the policy's files."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from d2ppo_core.bundle import load_bundle
from d2ppo_core.doctor.finding import Finding, fail, ok, run_python, warn
from d2ppo_core.environment import check_renderer
from d2ppo_core.errors import BundleError, WorldError
from d2ppo_core.extras import how_to_get, install_line
from d2ppo_core.shipped import shipped

EGL = """
import os
os.environ.setdefault("MUJOCO_GL", "egl")
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
from OpenGL import GL
print(GL.glGetString(GL.GL_RENDERER).decode(), flush=True)
context.free()
os._exit(0)
"""
BUNDLE = "from sim.tasks import task_named; print(task_named({task!r}).bundle)"
REALSENSE = "import pyrealsense2 as rs; print(len(rs.context().query_devices()))"


def check_rendering(environment: Mapping[str, str]) -> Finding:
    """An OpenGL context can be made without a screen."""
    try:
        check_renderer(environment)
    except WorldError as error:
        return fail("Rendering (EGL)", str(error))
    good, text = run_python(EGL, environment)
    if good:
        return ok("Rendering (EGL)", text)
    if importlib.util.find_spec("mujoco") is None:
        return fail("Rendering (EGL)", how_to_get("mujoco"))
    return fail("Rendering (EGL)", f"no headless OpenGL ({text}); run: bash {shipped('tools/debian-packages.sh')}")


def check_bundle(name_or_path: str, task: str, environment: Mapping[str, str]) -> Finding:
    """The policy's files are complete and undamaged; without a name those of the task's own."""
    if not name_or_path:
        good, name_or_path = run_python(BUNDLE.format(task=task), environment)
        if not good:
            return fail("Policy bundle", name_or_path.rpartition("Error: ")[2])
        if not name_or_path:
            return warn("Policy bundle", f"task {task} has none of its own yet; name one: --set bundle=PATH")
    try:
        bundle = load_bundle(name_or_path)
    except BundleError as error:
        return fail("Policy bundle", str(error))
    return ok("Policy bundle", f"{bundle.folder.name}, task {bundle.manifest.task}, hash {bundle.hash[:12]}")


def check_realsense(environment: Mapping[str, str], *, required: bool) -> Finding:
    """The camera library loads and, where it is required, sees a camera."""
    name = "RealSense"
    good, text = run_python(REALSENSE, environment)
    verdict = fail if required else warn
    if not good:
        return verdict(
            name, f"pyrealsense2 does not load ({text}); run: {install_line('realsense')} (it needs libusb-1.0-0)"
        )
    if text == "0" and required:
        return fail(name, "no camera is connected; plug one into a USB 3 port")
    return ok(name, f"library loads, {text} cameras connected")
