"""What is written appears whole, and replaces nothing but what is ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from d2ppo_core.errors import OutputError
from d2ppo_core.output import MARKER, writing_file, writing_folder


def has_flag(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["flag"]


def write(out: Path, text: str = "new") -> None:
    with writing_folder(out, "flag folder", has_flag) as folder:
        (folder / "flag").write_text(text)


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_folder_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with writing_folder(tmp_path / "deep" / "out", "flag folder") as folder:
        (folder / "flag").write_text("new")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep/out/flag").read_text() == "new" and listed(tmp_path / "deep") == {"out"}


@pytest.mark.parametrize("name", ["empty", "ours", "link"])
def test_what_is_ours_or_empty_is_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "ours", "old")
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    write(tmp_path / name)
    assert (tmp_path / name / "flag").read_text() == "new" and (tmp_path / "link").is_symlink()
    assert listed(tmp_path) == {"empty", "ours", "link"}


def test_a_folder_of_somebodys_is_left_alone_and_named_with_what_it_holds(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    for name in "abcd":
        (thesis / name).write_text("precious")
    with pytest.raises(
        OutputError, match=r"thesis is not replaced, it is not just a flag folder: it holds a, b, c, …;"
    ):
        write(thesis)
    assert listed(thesis) == set("abcd") and listed(tmp_path) == {"thesis"}


def test_a_file_in_place_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="out is a file; wanted a folder for the flag folder"):
        write(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), writing_folder(tmp_path / "out", "flag folder", has_flag) as folder:
        (folder / "flag").write_text("half")
        raise RuntimeError
    assert (tmp_path / "out" / "flag").read_text() == "old" and listed(tmp_path) == {"out"}


def test_what_is_put_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="it holds chapter"),
        writing_folder(tmp_path / "out", "flag folder", has_flag) as folder,
    ):
        (folder / "flag").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "chapter").write_text("precious")
    assert (tmp_path / "out" / "chapter").read_text() == "precious"


KILLED = """
import os, signal, sys
from pathlib import Path
from d2ppo_core.output import writing_folder
with writing_folder(Path(sys.argv[1]), "flag folder") as folder:
    (folder / "flag").write_text("half")
    print("there", flush=True)
    sys.stdin.read()
"""


def test_the_leftover_of_a_killed_writer_goes_but_not_that_of_a_living_one_nor_a_strangers(tmp_path: Path) -> None:
    out, stranger = tmp_path / "out", tmp_path / ".out.mine.partial"
    stranger.mkdir()
    command = [sys.executable, "-c", KILLED, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "there\n"
        write(out, "other")
        assert len(listed(tmp_path)) == 3, "the living writer's folder is gone"
        writer.kill()
    (left,) = listed(tmp_path) - {"out", stranger.name}
    assert (tmp_path / left / MARKER).is_file()
    write(out)
    assert listed(tmp_path) == {"out", stranger.name}


def is_text(path: Path) -> bool:
    return path.read_text().startswith("ours")


def test_a_file_replaces_an_empty_one_or_one_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("")
    for text in ("ours 1", "ours 2"):
        with writing_file(tmp_path / "out.txt", "note", is_text) as path:
            assert path.suffix == ".txt"
            path.write_text(text)
        assert (tmp_path / "out.txt").read_text() == text
    assert listed(tmp_path) == {"out.txt"}


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"out.txt is not replaced, as it is no note"):
        with writing_file(tmp_path / "out.txt", "note", is_text):
            pytest.fail("the block ran")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder is a folder; wanted a file for the note"):
        with writing_file(tmp_path / "folder", "note", is_text):
            pytest.fail("the block ran")


def test_a_file_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("ours 1")
    with pytest.raises(RuntimeError), writing_file(tmp_path / "out.txt", "note", is_text) as path:
        path.write_text("half")
        raise RuntimeError
    assert (tmp_path / "out.txt").read_text() == "ours 1" and listed(tmp_path) == {"out.txt"}


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/out cannot be written: Not a directory"):
        write(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="out cannot be written: No space left on device"):
        with writing_file(tmp_path / "out", "note"):
            raise OSError(28, os.strerror(28))
