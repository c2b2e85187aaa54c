"""One command puts the fitting client in place, in an environment of its own; the wheels are made here."""

import base64
import hashlib
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

NAME = "franky_control"
RUN = "import sys; from d2ppo_core.cli.main import main; sys.exit(main())"
VERSION = "from importlib.metadata import version; print(version('franky-control'))"


def make_wheel(folder: Path, version: str, library: str, module: str = "class Robot: ...\n") -> Path:
    """A franky of nothing but a version, the name of the libfranka inside, and one class."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{NAME}-{version}.dist-info"
    content = {
        "franky/__init__.py": module,
        f"{NAME}.libs/libfranka-0a1b2c3d.so.{library}": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: franky-control\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(text.encode())}")
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{NAME}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that sees everything installed here, and into which alone pip installs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    (site / "project.pth").write_text(f"{Path(__file__).parents[3]}\n")
    return folder / "bin" / "python"


def run(python: Path, code: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    command = [str(python), "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment, cwd=python.parent)


def fix(python: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run(python, RUN, "doctor", "--fix-client", *arguments)


def test_one_command_puts_the_pandas_client_in_place_and_one_takes_it_back(python: Path, tmp_path: Path):
    index = tmp_path / "index" / "franky-control"
    pandas, fr3s = make_wheel(index, "2.0.0+libfranka.0.9.2", "0.9.2"), make_wheel(tmp_path / "pypi", "2.0.0", "0.21.2")
    (index / "index.html").write_text(f'<a href="{pandas.name.replace("+", "%2B")}">{pandas.name}</a>')
    for robot, source, version, server in (
        ("panda", tmp_path / "index", "2.0.0+libfranka.0.9.2", 5),
        ("fr3", fr3s.parent, "2.0.0", 10),
        ("panda", index, "2.0.0+libfranka.0.9.2", 5),
    ):
        done = fix(python, robot, "--index", str(source))
        assert done.returncode == 0, done.stderr
        assert f"for a {robot} (server version {server})" in done.stdout
        assert f"franky {version} with libfranka" in done.stdout and f"speaks server version {server}\n" in done.stdout
        assert run(python, VERSION).stdout == f"{version}\n"


def assert_one_line(done: subprocess.CompletedProcess, *parts: str) -> None:
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_a_client_that_does_not_fit_or_load_is_told_with_the_way_back(python: Path, tmp_path: Path):
    make_wheel(tmp_path / "other", "2.0.0", "0.13.3")
    done = fix(python, "panda", "--index", str(tmp_path / "other"))
    assert_one_line(done, "libfranka 0.13.3 and speaks server version 7, wanted 5", "undo: d2ppo doctor --fix-client")
    make_wheel(tmp_path / "broken", "2.0.0", "0.9.2", "raise ImportError('libPocoNet.so.95: cannot open')\n")
    done = fix(python, "panda", "--index", str(tmp_path / "broken"))
    assert_one_line(done, "does not load", "libPocoNet.so.95: cannot open")


def test_where_it_cannot_be_had_nothing_changes_and_the_ways_out_are_named(python: Path, tmp_path: Path):
    before = run(python, VERSION).stdout
    done = fix(python, "panda", "--index", "http://127.0.0.1:9/")
    assert_one_line(done, "nobody answers there; nothing was changed", "--index FOLDER", "client: franka_rs")
    (tmp_path / "empty" / "franky-control").mkdir(parents=True)
    (tmp_path / "empty" / "franky-control" / "index.html").write_text("")
    done = fix(python, "fr3", "--server-version", "7", "--index", str(tmp_path / "empty"))
    assert_one_line(done, "server version 7", "Could not find a version")
    assert "franka_rs" not in done.stderr, "it does not speak version 7"
    assert run(python, VERSION).stdout == before


def test_what_cannot_be_meant_is_refused(python: Path):
    done = fix(python, "panda", "--server-version", "10")
    assert_one_line(done, "--server-version: a panda speaks one of 4, 5, got 10")
    assert_one_line(fix(python, "panda", "--index", "nowhere"), "--index: wanted an address or a folder with wheels")
    assert_one_line(run(python, RUN, "doctor", "--index", "x"), "go with --fix-client panda or --fix-client fr3")


def test_an_environment_without_pip_is_told_how_to_get_it(tmp_path: Path):
    venv.create(tmp_path, symlinks=True)
    site = next(tmp_path.glob("lib/python*/site-packages"))
    folders = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("\n".join([*folders, str(Path(__file__).parents[3])]) + "\n")
    hide = "import importlib.util as u; real = u.find_spec; u.find_spec = lambda n: None if n == 'pip' else real(n)"
    done = run(tmp_path / "bin" / "python", f"{hide}; {RUN}", "doctor", "--fix-client", "panda")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert done.stderr == "d2ppo: this environment has no pip to install with; run: uv pip install pip\n"
