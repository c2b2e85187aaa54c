"""What the tools are told to leave out is what was meant: a folder's name alone counts at any depth."""

import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("d2ppo_core", "sim", "calibration", "ros2_ws/src", "launch", "examples", "tools", "tests")


def test_pytest_enters_every_folder_with_tests_but_the_benchmarks() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    patterns = options["norecursedirs"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    assert Path("tests/d2ppo_core/data") in folders
    left_out = {str(folder) for folder in folders if any(fnmatch(p, q) for p in folder.parts for q in patterns)}
    assert {folder for folder in left_out if not folder.startswith("tests/benchmarks")} == set()


def test_ruff_looks_at_every_file() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    seen = {Path(line).resolve() for line in shown.splitlines()}
    there = {path.resolve() for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")}
    assert len(there) > 600
    assert sorted(there - seen) == []
