import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from d2ppo_core import task_folders
from d2ppo_core.cli.pretrain import resolve
from d2ppo_core.data.tasks import ENV_NAMES
from d2ppo_core.errors import ConfigError
from d2ppo_core.task_folders import CONFIG_FILE, SHIPPED, VARIABLE, folder_of, known_tasks, named

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_task" / "stack_cubes"


@pytest.fixture(autouse=True)
def nothing_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def test_the_shipped_tasks_are_those_that_datasets_know() -> None:
    assert tuple(ENV_NAMES) == SHIPPED == known_tasks()
    assert folder_of("lift") is None and named("lift") == ("lift", "lift_state")


def test_a_folder_is_known_by_its_name_once_its_path_was_named() -> None:
    with pytest.raises(
        ConfigError, match="unknown task 'stack_cubes'; known are lift, .*, or the path of a task's folder"
    ):
        folder_of("stack_cubes")
    assert named(f"{EXAMPLE}/") == ("stack_cubes", str(EXAMPLE / CONFIG_FILE))
    assert folder_of("stack_cubes") == folder_of(str(EXAMPLE))
    assert known_tasks() == (*SHIPPED, "stack_cubes")


def test_the_folder_that_was_named_last_has_the_name(tmp_path: Path) -> None:
    other = shutil.copytree(EXAMPLE, tmp_path / "stack_cubes")
    for path in (EXAMPLE, other):
        named(str(path))
        found = folder_of("stack_cubes")
        assert found is not None and found.path == path


def test_an_entry_point_names_a_package_that_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "my_lab_tasks" / "cubes")
    (tmp_path / "my_lab_tasks" / "module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    points = {
        "tower": EntryPoint("tower", "my_lab_tasks.cubes", task_folders.GROUP),
        "gone": EntryPoint("gone", "my_lab_tasks.gone", task_folders.GROUP),
        "flat": EntryPoint("flat", "my_lab_tasks.module", task_folders.GROUP),
    }
    monkeypatch.setattr(
        task_folders, "entry_points", lambda group, name=None: [points[n] for n in points if name in (None, n)]
    )
    found = folder_of("tower")
    assert found is not None and found.path == tmp_path / "my_lab_tasks" / "cubes"
    assert known_tasks() == (*SHIPPED, "flat", "gone", "tower")
    for broken in ("gone", "flat"):
        with pytest.raises(ConfigError, match=f"task {broken}: its entry point names my_lab_tasks.* wanted a package"):
            folder_of(broken)
    sys.modules.pop("my_lab_tasks", None)


@pytest.mark.parametrize("part", task_folders.PARTS)
def test_a_folder_with_a_missing_part_is_one_line(part: str, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "stack_cubes")
    (folder / part).unlink()
    with pytest.raises(ConfigError, match=rf"stack_cubes: this folder of a task lacks {part} \("):
        folder_of(str(folder))


@pytest.mark.parametrize("name", ["lift", "Stack", "stack-cubes"])
def test_a_folder_that_is_called_as_no_task_can_be_is_one_line(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / name)
    with pytest.raises(ConfigError, match=f"a task cannot be called '{name}'; wanted small letters, digits and _"):
        folder_of(str(folder))


def test_a_folder_has_its_configuration_and_another_tasks_is_refused(tmp_path: Path) -> None:
    assert resolve(str(EXAMPLE), None, ("optim.steps=3",)).name == "stack_cubes_state"
    other = shutil.copytree(EXAMPLE, tmp_path / "tower")
    with pytest.raises(ConfigError, match="wanted a configuration of task 'tower', got one of 'stack_cubes'"):
        resolve(str(other), None, ())
