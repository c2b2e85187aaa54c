"""Whether the calibration files can be read, go together, and are of these months."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from d2ppo_core.calibrated import FOLDER, HandEyeFile, IntrinsicsFile, age_days, hash_of, load, path_of
from d2ppo_core.doctor.finding import Finding, ok, warn
from d2ppo_core.errors import D2ppoError

OLD_DAYS = 90.0
"""A mount is knocked and a lens turned sooner or later; `d2ppo calibrate check` takes a minute."""
_ENDING = ".yaml"
_KINDS = {"intrinsics": IntrinsicsFile, "hand_eye": HandEyeFile}


def check_calibrations(folder: Path = Path(FOLDER)) -> Iterator[Finding]:
    """Yield a finding for each calibration file in a folder, which need not be there."""
    for kind, of_kind in _KINDS.items():
        for path in sorted(folder.glob(f"*.{kind}{_ENDING}")):
            name = path.name.removesuffix(_ENDING)
            try:
                content: IntrinsicsFile | HandEyeFile = load(path, of_kind)
                changed = isinstance(content, HandEyeFile) and _other_intrinsics(folder, content)
            except D2ppoError as error:
                yield warn(name, str(error))
                continue
            days, known = age_days(content), hash_of(content)
            if changed:
                why = f"{known} was measured with other intrinsics than those in {folder}"
                yield warn(name, f"{why}: d2ppo calibrate hand-eye")
            elif days > OLD_DAYS:
                yield warn(name, f"{known} is {days:.0f} days old: d2ppo calibrate check tells whether it still holds")
            else:
                yield ok(name, f"{known}, {days:.0f} days old")


def _other_intrinsics(folder: Path, content: HandEyeFile) -> bool:
    path = path_of(folder, IntrinsicsFile, content.camera.name)
    return path.exists() and hash_of(load(path, IntrinsicsFile)) != content.intrinsics_hash
