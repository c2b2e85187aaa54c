"""What pyproject.toml cannot say: a wheel carries, inside d2ppo_core, what lies beside the packages in a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHARED = (
    "launch/**/*.py",
    "launch/**/*.yaml",
    "ros2_ws/src/**/*",
    "tools/build-ros.sh",
    "tools/constraints.txt",
    "tools/debian-packages.*",
    "tools/repair_ros_wheels.py",
    "tools/requirements-no-deps.txt",
    "docs/**/*.md",
)
"""Found again by d2ppo_core.shipped."""
CACHES = ("__pycache__", ".egg-info")


class BuildWithShared(build_py):
    """Copies what is shared to d2ppo_core/share; an editable install finds it in the checkout."""

    def run(self) -> None:
        """Build into an empty folder: what an earlier build left there is not of this version."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if self.editable_mode:
            return
        for source in sorted(path for pattern in SHARED for path in Path().glob(pattern) if path.is_file()):
            if not any(part.endswith(CACHES) for part in source.parts):
                target = Path(self.build_lib, "d2ppo_core", "share", source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)


setup(cmdclass={"build_py": BuildWithShared})
