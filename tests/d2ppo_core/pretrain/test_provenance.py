import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import h5py
import pytest

from d2ppo_core.config.schema import DataConfig
from d2ppo_core.data.windows import load_windows
from d2ppo_core.pretrain import provenance
from d2ppo_core.pretrain.provenance import describe_code, describe_dataset, git_commit


def fake_package(folder: Path) -> Path:
    """A git checkout with one decisive and one indifferent file."""
    for part in ("pretrain", "drivers"):
        (folder / part).mkdir(parents=True)
        (folder / part / "code.py").write_text("a = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "start"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder / "pretrain" / "provenance.py"


def test_the_commit_is_marked_when_decisive_code_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(fake_package(tmp_path)))
    clean = git_commit()
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "drivers" / "code.py").write_text("a = 2\n")
    assert git_commit() == clean
    (tmp_path / "pretrain" / "code.py").write_text("a = 2\n")
    assert git_commit() == clean + "+changes"


def test_asking_writes_nothing_into_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a run that is killed meanwhile leaves `index.lock`, and the user's next commit fails."""
    monkeypatch.setattr(provenance, "__file__", str(fake_package(tmp_path)))
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    os.utime(tmp_path / "pretrain" / "code.py", (1, 1))  # git looks into the file, and would keep what it saw
    assert not git_commit().endswith("+changes") and index.read_bytes() == before


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "pretrain" / "provenance.py"))
    assert git_commit() == "unknown"


def test_installed_inside_another_repository_the_commit_is_not_that_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_package(tmp_path)
    inside = tmp_path / ".venv" / "d2ppo_core" / "pretrain" / "provenance.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("a = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(inside))
    assert git_commit() == "unknown"


def test_versions_are_recorded() -> None:
    assert {"commit", "python", "torch", "numpy"} == set(describe_code())


def test_the_recipe_of_a_datasets_objects_goes_along_where_it_carries_one(dataset: Path, tmp_path: Path) -> None:
    own = shutil.copy(dataset, tmp_path / "own.hdf5")
    parts = [{"name": "red", "what": "position", "frame": "at_hand"}]
    with h5py.File(own, "r+") as file:
        env_args = json.loads(file["data"].attrs["env_args"])
        file["data"].attrs["env_args"] = json.dumps({**env_args, "object_parts": parts})
    windows, _ = load_windows(own, DataConfig())
    plain, carried = (describe_dataset(path, windows) for path in (dataset, own))
    assert "object_parts" not in plain and carried["object_parts"] == parts
    assert carried["num_windows"] == plain["num_windows"] == len(windows)
    assert carried["sha256"] != plain["sha256"]
