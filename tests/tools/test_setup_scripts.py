"""The set-up scripts under the conditions they are written for; nothing is installed here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"


def call(script: str, *arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Run a script of tools/; ``path`` replaces PATH, except for what every system has."""
    variables = {**os.environ, **environment}
    if path is not None:
        variables["PATH"] = str(path)
    command = [shutil.which("bash") or "bash", str(TOOLS / script), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=variables, stdin=subprocess.DEVNULL, check=False
    )


def folder_with(folder: Path, *programs: str, **scripts: str) -> Path:
    """Make a folder for PATH that holds links to real programs and small scripts."""
    folder.mkdir()
    for program in programs:
        (folder / program).symlink_to(shutil.which(program) or f"/usr/bin/{program}")
    for name, script in scripts.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    return folder


BASE = ("dirname", "cat", "mktemp", "rm", "tail", "sed", "tr", "sort", "env")


def test_debian_packages_that_are_there_need_no_apt_get(tmp_path: Path) -> None:
    packages = tmp_path / "list.txt"
    packages.write_text("# a comment\nlibc6 always there\n")
    path = folder_with(tmp_path / "bin", *BASE, "dpkg-query", "id")
    done = call("debian-packages.sh", str(packages), path=path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_debian_package_is_listed_by_check_without_installing(tmp_path: Path) -> None:
    packages = tmp_path / "list.txt"
    packages.write_text("libc6 x\nno-such-package-d2ppo y\n")
    done = call("debian-packages.sh", "--check", str(packages))
    assert (done.returncode, done.stdout) == (1, "no-such-package-d2ppo\n")


def test_an_account_that_may_not_install_gets_one_line_with_the_command(tmp_path: Path) -> None:
    packages = tmp_path / "list.txt"
    packages.write_text("no-such-package-d2ppo y\n")
    path = folder_with(tmp_path / "bin", *BASE, "dpkg-query", id="echo 1000")
    done = call("debian-packages.sh", str(packages), path=path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "apt-get install -y no-such-package-d2ppo" in done.stderr


def test_sudo_is_used_by_an_ordinary_account_and_only_missing_packages_are_asked_for(tmp_path: Path) -> None:
    packages, log = tmp_path / "list.txt", tmp_path / "calls"
    packages.write_text("libc6 x\nno-such-package-d2ppo y\n")
    path = folder_with(
        tmp_path / "bin", *BASE, "dpkg-query", id="echo 1000", sudo=f'echo "sudo $@" >>{log}', apt_get="exit 9"
    )
    assert call("debian-packages.sh", str(packages), path=path).returncode == 0
    assert log.read_text().splitlines() == [
        "sudo -n true",
        "sudo apt-get update -q",
        "sudo apt-get install -q -y --no-install-recommends no-such-package-d2ppo",
    ]


def test_a_failing_apt_get_is_an_error_with_the_names(tmp_path: Path) -> None:
    packages = tmp_path / "list.txt"
    packages.write_text("no-such-package-d2ppo y\n")
    path = folder_with(tmp_path / "bin", *BASE, "dpkg-query", id="echo 0", apt_get="echo no network; exit 100")
    done = call("debian-packages.sh", str(packages), path=path)
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert "could not install no-such-package-d2ppo" in done.stderr


def test_a_system_without_dpkg_is_told_what_to_provide(tmp_path: Path) -> None:
    done = call("debian-packages.sh", path=folder_with(tmp_path / "bin", *BASE))
    assert done.returncode == 0
    assert "libegl1" in done.stderr and "cmake" in done.stderr


def test_the_python_that_runs_these_tests_is_found() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = call("find-python.sh", PYTHON=sys.executable, WANTED_PYTHON=version)
    assert done.returncode == 0, done.stderr
    found = Path(done.stdout.strip())
    assert found.is_file() and ".venv" not in found.parts


def test_a_wrong_or_missing_python_is_one_line_that_says_which_is_wanted(tmp_path: Path) -> None:
    wrong = call("find-python.sh", PYTHON=sys.executable, WANTED_PYTHON="3.99")
    assert wrong.returncode == 1
    assert len(wrong.stderr.splitlines()) == 1
    assert "Python 3.99 is needed" in wrong.stderr and "it is Python 3." in wrong.stderr
    missing = call("find-python.sh", PYTHON=str(tmp_path / "python"))
    assert missing.returncode == 1
    assert "not found" in missing.stderr and "Install python3.11" in missing.stderr


def test_the_first_version_wanted_that_is_there_is_taken(tmp_path: Path) -> None:
    version, other = f"{sys.version_info.major}.{sys.version_info.minor}", "3.99"
    programs = {f"python{version}": f'exec {sys.executable} "$@"', f"python{other}": "echo broken; exit 1"}
    path = folder_with(tmp_path / "bin", *BASE, **programs)
    found = call("find-python.sh", path=path, PYTHON="", WANTED_PYTHON=f"{other} {version}")
    assert found.returncode == 0, found.stderr
    assert found.stdout == call("find-python.sh", PYTHON=sys.executable, WANTED_PYTHON=version).stdout
    wrong = call("find-python.sh", PYTHON=sys.executable, WANTED_PYTHON="3.98 3.99")
    assert "Python 3.98 or 3.99 is needed" in wrong.stderr and "Install python3.98, python3.98-venv" in wrong.stderr


def ros_install(root: Path, name: str, version: str) -> Path:
    prefix = root / name
    (prefix / "lib" / f"python{version}" / "site-packages" / "rclpy").mkdir(parents=True)
    (prefix / "setup.sh").write_text("")
    return prefix


def test_ros_from_apt_is_found_for_the_python_that_it_was_built_for(tmp_path: Path) -> None:
    ros_install(tmp_path, "humble", "3.10")
    jazzy = ros_install(tmp_path, "jazzy", "3.12")
    (tmp_path / "empty").mkdir()
    found = call("find-ros.sh", "3.12", ROS_ROOT=str(tmp_path), AMENT_PREFIX_PATH="")
    assert found.stdout.strip() == str(jazzy)
    assert call("find-ros.sh", "3.11", ROS_ROOT=str(tmp_path), AMENT_PREFIX_PATH="").stdout == ""


def test_a_sourced_ros_install_is_found_wherever_it_is_and_a_virtual_environment_is_none(tmp_path: Path) -> None:
    sourced = ros_install(tmp_path, "built_from_source", "3.11")
    nowhere = str(tmp_path / "nowhere")
    assert call("find-ros.sh", "3.11", ROS_ROOT=nowhere, AMENT_PREFIX_PATH=str(sourced)).stdout.strip() == str(sourced)
    (sourced / "pyvenv.cfg").write_text("")
    assert call("find-ros.sh", "3.11", ROS_ROOT=nowhere, AMENT_PREFIX_PATH=str(sourced)).stdout == ""


def test_the_ros_wheels_are_repaired_once_and_only_where_they_name_the_build_machine(tmp_path: Path) -> None:
    share = tmp_path / "share" / "pkg" / "cmake"
    share.mkdir(parents=True)
    old = "/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy"
    (share / "export.cmake").write_text(f'"{old}/_core/include"\n')
    (share / "other.cmake").write_text("/opt/python/cp311-cp311/bin\n")
    code = (
        f"import sys; sys.path.insert(0, {str(TOOLS)!r}); from pathlib import Path; import repair_ros_wheels as r; "
        f"print([p.name for _ in range(2) for p in r.repair(Path({str(tmp_path)!r}), '/inc', '/np')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['export.cmake']"
    assert (share / "export.cmake").read_text() == '"/inc;/np"\n'
    assert (share / "other.cmake").read_text() == "/opt/python/cp311-cp311/bin\n"


def test_nothing_of_an_older_version_is_there_when_the_ros_packages_are_built_and_nothing_is_built_twice(
    tmp_path: Path,
) -> None:
    site = tmp_path / "venv/lib/python3.11/site-packages"
    old = [
        "d2ppo_nodes/removed.py",
        "d2ppo_nodes-0.1.0-py3.11.egg-info/PKG-INFO",
        "d2ppo_interfaces-0.1.0.egg-info/PKG-INFO",
    ]
    for name in [*old, "d2ppo_core/kept.py", "d2ppo_panda-0.1.0.dist-info/METADATA"]:
        (site / name).parent.mkdir(parents=True)
        (site / name).write_text("")
    built = tmp_path / "venv/.d2ppo/colcon/d2ppo_nodes/build/lib/d2ppo_nodes"
    built.mkdir(parents=True)
    (tmp_path / "ros").mkdir()
    folder_with(tmp_path / "venv/bin", colcon=f"ls {site} >>{tmp_path}/seen; test ! -e {built}")
    for _ in range(2):
        done = call("build-ros.sh", str(tmp_path / "venv"), str(tmp_path / "ros"))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text().split() == 2 * ["d2ppo_core", "d2ppo_panda-0.1.0.dist-info"]


def test_setup_refuses_an_unknown_source_of_ros_and_a_missing_one(tmp_path: Path) -> None:
    environment = {"VENV": str(tmp_path / "venv"), "ROS_ROOT": str(tmp_path), "AMENT_PREFIX_PATH": ""}
    wrong = call("setup.sh", D2PPO_ROS="snap", **environment)
    assert wrong.returncode == 2
    assert "D2PPO_ROS is 'snap', wanted wheels, apt or auto" in wrong.stderr
    missing = call("setup.sh", D2PPO_ROS="apt", **environment)
    assert missing.returncode == 1
    assert "no ROS 2 for Python 3.11 or 3.12" in missing.stderr
    assert not (tmp_path / "venv").exists()


def test_run_without_an_environment_says_how_to_make_one(tmp_path: Path) -> None:
    done = call("run.sh", "true", VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert "run 'make setup' first" in done.stderr


def test_run_passes_on_arguments_and_exit_code() -> None:
    done = call("run.sh", sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", VENV=sys.prefix)
    assert (done.returncode, done.stdout) == (7, "['a b']\n")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_dependency_is_pinned_exactly(project: dict) -> None:
    extras = project["optional-dependencies"]
    loose = [
        requirement
        for requirement in [*project["dependencies"], *(item for items in extras.values() for item in items)]
        if not re.fullmatch(r"[A-Za-z0-9_.-]+(\[[a-z]+\])?==[0-9][0-9a-z.]*", requirement)
    ]
    assert loose == []


def test_the_pins_and_the_constraints_agree(project: dict) -> None:
    lines = (TOOLS / "constraints.txt").read_text().splitlines()
    constraints = {canonical(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}
    pins = [*project["dependencies"], *(item for items in project["optional-dependencies"].values() for item in items)]
    for requirement in pins:
        name, _, pin = requirement.partition("==")
        known = constraints.get(canonical(name.partition("[")[0]))
        assert known in (pin, None), requirement
        assert known or name == "onnxruntime-gpu", f"{requirement} is not in constraints.txt"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_onnx_runtime_is_in_one_extra_only_so_that_never_both_are_installed(project: dict) -> None:
    owners: dict[str, list[str]] = {"onnxruntime": [], "onnxruntime-gpu": []}
    for extra, items in project["optional-dependencies"].items():
        for name in owners:
            owners[name] += [extra for item in items if item.partition("==")[0] == name]
    assert owners == {"onnxruntime": ["cpu"], "onnxruntime-gpu": ["gpu"]}


def test_d2ppo_at_the_top_runs_in_the_environment_from_any_folder(tmp_path: Path) -> None:
    environment = tmp_path / "venv" / "bin"
    environment.parent.mkdir()
    folder_with(environment, python="true", d2ppo='echo "$VIRTUAL_ENV: $@ in $PWD"')
    (tmp_path / "link").symlink_to(ROOT / "d2ppo")
    variables = {**os.environ, "VENV": str(environment.parent)}
    done = subprocess.run(
        [tmp_path / "link", "up", "a b"], capture_output=True, text=True, timeout=30, env=variables, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, f"{environment.parent}: up a b in {tmp_path}\n")
    variables["VENV"] = str(tmp_path / "nowhere")
    done = subprocess.run([ROOT / "d2ppo"], capture_output=True, text=True, timeout=30, env=variables)
    assert done.returncode == 2 and "run 'make setup' first" in done.stderr


@pytest.mark.parametrize("marker", ["pyvenv.cfg", "chapter.tex"])
def test_clean_removes_an_environment_but_no_folder_of_somebodys(tmp_path: Path, marker: str) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / marker).write_text("precious")
    command = ["make", "-f", str(ROOT / "Makefile"), "clean", f"VENV={tmp_path / 'place'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, (tmp_path / "place").exists()) == (marker == "pyvenv.cfg", marker == "chapter.tex")
    assert done.returncode == 0 or "is no Python environment; it stays" in done.stderr
