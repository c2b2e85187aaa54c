"""Points the CMake files of the ROS wheels at this environment.

The wheels were built under /opt/python/cp311-cp311 and their exported CMake targets still name the include folders of
that place. Run with the environment's own Python; it only rewrites files under that environment's share/ folder, prints
how many it changed, and a second run changes none.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

PYTHON_INCLUDE = re.compile(rb"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
NUMPY_INCLUDE = re.compile(rb"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages/numpy/_?core/include")


def repair(share: Path, python_include: str, numpy_include: str) -> list[Path]:
    """Rewrite both include folders in every file under ``share``; return the files that changed."""
    changed = []
    for path in sorted(share.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        old = path.read_bytes()
        if b"/opt/python/cp3" not in old:
            continue
        new = NUMPY_INCLUDE.sub(numpy_include.encode(), PYTHON_INCLUDE.sub(python_include.encode(), old))
        if new != old:
            path.write_bytes(new)
            changed.append(path)
    return changed


def main() -> int:
    """Repair the environment that runs this script."""
    if sys.prefix == sys.base_prefix:
        print("repair_ros_wheels: run me with the Python of a virtual environment", file=sys.stderr)
        return 2
    import numpy

    changed = repair(Path(sys.prefix) / "share", sysconfig.get_path("include"), numpy.get_include())
    print(f"repaired {len(changed)} files of the ROS wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
