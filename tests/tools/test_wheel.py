"""The wheel: complete, and at work in an environment of its own, far from the repository and without a network."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]  # one live stack, and one wheel for all of them

ROOT = Path(__file__).parents[2]
PACKAGES = ("calibration", "d2ppo_core", "sim")
SHARE = "d2ppo_core/share/"
LEFT_OUT = ("d2ppo_core/experiments/results/", "docs/img/")
"""Written by `d2ppo experiment`; pictures of pages."""
TOOLS = [
    f"tools/{name}"
    for name in ("build-ros.sh", "constraints.txt", "debian-packages.sh", "debian-packages.txt", "repair_ros_wheels.py",
                 "requirements-no-deps.txt")
]  # fmt: skip
"""Of the tools only what an installed wheel needs."""
MISSING = "the ROS package d2ppo_nodes must be built here; run: d2ppo doctor --fix-ros"


def tracked(*folders: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is in git, with a leftover of an earlier build beside it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    (source / "build/lib/sim").mkdir(parents=True)
    (source / "build/lib/sim/removed_long_ago.py").write_text("")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        target,
        ".",
    ]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_packages_and_what_lies_beside_them_and_nothing_else(wheel: Path) -> None:
    beside = [*tracked("launch", "ros2_ws/src", "docs"), *TOOLS]
    wanted = set(tracked(*PACKAGES)) | {SHARE + name for name in beside}
    wanted = {name for name in wanted if not name.removeprefix(SHARE).startswith(LEFT_OUT)}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
        scripts = [info for info in archive.infolist() if info.filename.endswith(".sh")]
    assert {name for name in found if ".dist-info/" not in name} == wanted
    assert {f"{package}/py.typed" for package in PACKAGES} <= found
    assert {name.rpartition("/")[2] for name in found if ".dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert scripts and all(info.external_attr >> 16 & 0o111 for info in scripts)


def test_its_metadata_is_what_the_project_declares(metadata) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["Version"] == project["version"]
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    tried = {row.rpartition(" :: ")[2] for row in metadata.get_all("Classifier") if re.search(r":: 3\.\d+$", row)}
    assert metadata["Requires-Python"] in (">=3.11,<3.13", "<3.13,>=3.11") and tried == {"3.11", "3.12"}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone; wheels of others and the built messages are seen where they are."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    install(folder, wheel)
    return folder


def install(environment: Path, what: Path) -> None:
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", *options, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def d2ppo(environment: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run the program that was installed there, from there; the loader's path of the ROS wheels is inherited."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [environment / "bin/d2ppo", *arguments],
        capture_output=True,
        text=True,
        timeout=115,
        cwd=environment,
        env=inherited | variables,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", "sim"], "stack sim: "),
        (["arm", "go-to", "--anything", "x"], "arm: "),
        (["evaluate", "lift", "--in", "stack"], "--in stack: "),
    ],
)
def test_without_the_nodes_each_verb_that_needs_them_names_the_missing_step(
    installed: Path, arguments: list[str], says: str
) -> None:
    done = d2ppo(installed, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"d2ppo: {says}{MISSING}\n")


def test_without_the_nodes_the_doctor_lists_them_and_help_still_names_every_verb(installed: Path) -> None:
    done = d2ppo(installed, "doctor", "--stack", "sim")
    assert done.returncode == 1 and "ROS nodes" in done.stderr
    row = next(line for line in done.stdout.splitlines() if line[6:].startswith("ROS nodes "))
    assert row.startswith("fail") and row.endswith("run: d2ppo doctor --fix-ros")
    listed = d2ppo(installed, "--help")
    assert "arm         Not built yet; run: d2ppo doctor --fix-ros." in listed.stdout and " up " in listed.stdout
    assert d2ppo(installed, "arm", "--help").returncode == 0


def test_the_packages_are_built_again_while_they_are_not_there_whatever_was_built_before(installed: Path) -> None:
    colcon, seen = installed / "bin/colcon", installed / "seen"
    colcon.write_text(f"#!/bin/sh\necho $PWD >>{seen}\n")  # says that it built, and builds nothing
    colcon.chmod(0o755)
    for calls in (2, 4):
        done = d2ppo(installed, "doctor", "--fix-ros")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(seen.read_text().splitlines()) == calls
    site = next(installed.glob("lib/python*/site-packages"))
    assert {Path(line) for line in seen.read_text().splitlines()} == {site / SHARE}
    colcon.unlink()


@pytest.mark.slow
def test_from_the_wheel_alone_the_doctor_is_content_and_an_episode_runs_in_the_live_stack(
    installed: Path, robot_address: str, ros_domain_id: int
) -> None:
    install(installed, next(installed.glob("lib/python*/site-packages")) / SHARE / "ros2_ws/src/d2ppo_nodes")
    own = {"ROS_DOMAIN_ID": str(ros_domain_id)}
    setting = ["--set", f"robot_address={robot_address}"]
    examined = d2ppo(installed, "doctor", *setting, **own)
    assert examined.returncode == 0, examined.stdout + examined.stderr
    here = d2ppo(installed, "evaluate", "lift", "--in", "stack", "--episodes", "1", "--horizon", "3", *setting, **own)
    assert here.returncode == 0, here.stdout[-3000:] + here.stderr[-3000:]
    (report,) = (installed / "reports").glob("*/report.html")
    log = report.with_name("stack.log").read_text()
    assert str(ROOT) not in log and report.stat().st_size > 10_000
    where = subprocess.run(
        [installed / "bin/python", "-c", "import d2ppo_core, sim, d2ppo_nodes as n; print(d2ppo_core, sim, n)"],
        capture_output=True, text=True, cwd=installed, check=True,
    )  # fmt: skip
    assert str(ROOT) not in where.stdout and where.stdout.count(str(installed)) >= 3
