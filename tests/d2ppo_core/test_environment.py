"""What a newcomer's environment may be: one line and the right cure, or no word at all; never a traceback."""

import ast
import io
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from d2ppo_core.environment import CACHES, check_renderer, home_problem
from d2ppo_core.errors import WorldError
from d2ppo_core.stack.log import StackLog

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-m", "d2ppo_core.cli.main"]


def call(
    *arguments: str, program: list[str] = MAIN, limit_bytes: int | None = None, **changes: str | None
) -> subprocess.CompletedProcess[str]:
    """The command line with some variables changed (None: unset), and files that may not grow beyond a limit."""
    environment = {key: value for key, value in {**os.environ, **changes}.items() if value is not None}

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [*program, *arguments], capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=110,
        env=environment, preexec_fn=limit,
    )  # fmt: skip


@pytest.mark.parametrize("chosen", ["osmesa", "OSMesa", "nonsense"])
def test_a_way_of_drawing_that_is_not_there_is_refused_before_anything_loads(chosen: str, tmp_path: Path) -> None:
    done = call("demos", "lift", "--num", "1", "--out", str(tmp_path / "x.hdf5"), MUJOCO_GL=chosen)
    assert done.returncode == 2
    said = "cannot be used: pictures are drawn by EGL, which needs no display; unset it, or set MUJOCO_GL=egl"
    assert done.stderr == f"d2ppo: MUJOCO_GL={chosen} {said}\n"
    assert call("up", "sim", MUJOCO_GL=chosen).stderr == done.stderr


def test_what_can_draw_is_let_through() -> None:
    for chosen in ("", "egl", "glfw", "disable", "OFF"):
        check_renderer({"MUJOCO_GL": chosen})
    check_renderer({})
    with pytest.raises(WorldError, match="PYOPENGL_PLATFORM=glx cannot be used.*; unset it"):
        check_renderer({"PYOPENGL_PLATFORM": "glx"})


def test_verbs_that_do_not_draw_do_not_ask(tmp_path: Path) -> None:
    for words in (("--help",), ("demos", "--help"), ("--version",)):
        assert call(*words, MUJOCO_GL="osmesa").returncode == 0


@pytest.mark.parametrize("home", [None, "/proc/nobody", "/dev/null"])
def test_without_a_home_caches_and_logs_go_to_a_folder_of_ones_own(home: str | None) -> None:
    unset = dict.fromkeys(CACHES)
    done = call("doctor", "--help", HOME=home, ROS_LOG_DIR=None, **unset)
    assert done.returncode == 0
    why = "HOME is not set" if home is None else f"HOME={home} is not writable"
    assert done.stderr.startswith(f"d2ppo: {why}; caches and logs of ROS go to ") and done.stderr.count("\n") == 1
    own = {name: "/tmp/x" for name in CACHES}
    assert call("doctor", "--help", HOME=home, **own).stderr == ""  # a caller who decided is not talked to


def test_a_home_that_can_be_written_is_no_problem(tmp_path: Path) -> None:
    assert home_problem({"HOME": str(tmp_path)}) == ""


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_a_locale_without_utf_8_reads_the_same_and_prints(locale: str, tmp_path: Path) -> None:
    narrow = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
    mine = tmp_path / "mine.yaml"
    mine.write_text("# Café, 21 °C\nname: café\ntask: lift\noptim: {stepz: 1}\n", encoding="utf-8")
    done = call("pretrain", "lift", "--config", str(mine), **narrow)
    assert (done.returncode, done.stderr) == (2, done.stderr) and "optim: unknown key stepz" in done.stderr
    assert "Traceback" not in done.stderr
    help_text = call("--help", **narrow)  # D²PPO is in it
    assert help_text.returncode == 0 and "pretrain" in help_text.stdout


def test_a_file_in_latin_1_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_bytes("name: café\ntask: lift\n".encode("latin-1"))
    done = call("pretrain", "lift", "--config", str(mine))
    assert done.returncode == 2 and f"d2ppo: {mine}: not a YAML file: 'utf-8' codec" in done.stderr
    assert done.stderr.count("\n") == 1


FOLDERS = ("d2ppo_core", "sim", "calibration", "ros2_ws/src", "launch")


def test_every_text_file_is_opened_as_utf_8() -> None:
    assert [place for folder in FOLDERS for place in found(folder)] == []


def test_a_full_disk_ends_an_export_with_one_line_and_leaves_nothing(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run("run")
    place = tmp_path / "bundles" / "lift"
    done = call("export", str(run), "--samples", "2", "--out", str(place), limit_bytes=10_000)
    assert done.returncode in (1, 2) and "File too large" in done.stderr and done.stderr.count("\n") == 1
    assert not place.exists() and [path.name for path in place.parent.iterdir()] == []


def test_a_record_on_a_full_disk_is_one_line_and_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text("before", encoding="utf-8")
    write = "import sys, pathlib; from d2ppo_core.evaluation.results import write_record as write; "
    write += "write(pathlib.Path(sys.argv[1]), {'numbers': list(range(1000))})"
    done = call(write, str(path), program=[sys.executable, "-c"], limit_bytes=100)
    assert done.stderr.splitlines()[-1].endswith(f"ConfigError: {path}: cannot be written: File too large")
    assert [path.read_text(encoding="utf-8"), *tmp_path.iterdir()] == ["before", path]


def test_a_log_on_a_full_disk_says_so_once_and_the_stack_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    console = io.StringIO()
    with StackLog(Path("/dev/full"), console) as log:
        for number in range(3):
            log.write("arm", f"line {number}")
    said = console.getvalue()
    assert said.count("d2ppo: /dev/full: the log ends here, it cannot be written") == 1
    assert all(f"[arm] line {number}" in said for number in range(3))


def test_a_log_that_cannot_be_opened_is_refused_in_one_line() -> None:
    done = call("up", "sim", "--log", "/proc/nowhere/up.log")
    assert done.returncode == 2 and done.stderr.startswith("d2ppo: /proc/nowhere/up.log: the log cannot be written: ")
    assert done.stderr.count("\n") == 1


def found(folder: str) -> list[str]:
    """Where text is read or written in whatever encoding the locale has."""
    places = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            mode = next((str(a.value) for a in node.args if isinstance(a, ast.Constant)), "r")
            opens = name == "open" and len(node.args) < 3 and "b" not in mode and set(mode) <= set("rwax+")
            if name in ("read_text", "write_text") or (opens and not other_kind(node)):
                places.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return places


def other_kind(node: ast.Call) -> bool:
    """`open` of something else than a text file."""
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    text = ast.unparse(owner) if owner is not None else ""
    return text == "os" or any(word in text for word in ("Image", "sensor", "gate", "webbrowser"))
