"""Which lens a camera is said to have: that of its calibration file, else what the camera says of itself."""

from dataclasses import dataclass, replace
from pathlib import Path

from d2ppo_core.calibrated import Intrinsics, IntrinsicsFile, age_days, hash_of, load
from d2ppo_core.errors import CalibrationError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Attributes: the camera's intrinsics at its own size, None where nobody knows, and one line on where from."""

    intrinsics: Intrinsics | None
    said: str


def lens_of(folder: Path, camera: str, serial: str, size: tuple[int, int], factory: Intrinsics | None) -> Lens:
    """Return the lens of a camera.

    A file counts when its serial is the camera's, or, where one of both is not known, when it is called like it.

    Args:
        folder: Of calibration files; one that is not there has none.
        camera: Name on the graph.
        serial: Of the camera; empty: nobody knows.
        size: Width and height of the camera's pictures, px.
        factory: What the camera says of itself.
    """
    reason = f"no calibration of it in {folder}"
    for path in sorted(folder.glob("*.intrinsics.yaml")):
        try:
            found = load(path, IntrinsicsFile)
        except (CalibrationError, ConfigError) as error:
            if path.name == f"{camera}.intrinsics.yaml":
                reason = str(error)
            continue
        theirs = found.camera.serial
        if not (theirs == serial if theirs and serial else found.camera.name == camera):
            continue
        scaled = _scaled(found.intrinsics, size)
        if scaled is None:
            was = f"{found.intrinsics.width_px}x{found.intrinsics.height_px}"
            reason = f"{path} is of pictures of {was}, not of the shape of {size[0]}x{size[1]}"
            continue
        age = f"{age_days(found):.0f} days old, {found.held_out_px:.2f} px"
        return Lens(intrinsics=scaled, said=f"camera {camera}: lens from {path} ({hash_of(found)}, {age})")
    whose = f"camera {camera} ({serial})" if serial else f"camera {camera}"
    if factory is None:
        return Lens(intrinsics=None, said=f"{whose}: lens unknown, camera_info is zero: {reason}")
    return Lens(intrinsics=factory, said=f"{whose}: lens as the camera itself says: {reason}")


def _scaled(lens: Intrinsics, size: tuple[int, int]) -> Intrinsics | None:
    """The lens at another size of the same shape; None for another shape, which may be another part of the sensor."""
    width, height = size
    scale = width / lens.width_px
    if abs(lens.height_px * scale - height) > 0.5:
        return None
    return replace(
        lens,
        width_px=width,
        height_px=height,
        fx_px=lens.fx_px * scale,
        fy_px=lens.fy_px * scale,
        cx_px=(lens.cx_px + 0.5) * scale - 0.5,
        cy_px=(lens.cy_px + 0.5) * scale - 0.5,
    )
