"""Files of ours are told from those of others."""

import json
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.analysis.pages import write_page
from d2ppo_core.data.video import VideoWriter
from d2ppo_core.errors import OutputError
from d2ppo_core.recognise import is_film, is_log, is_page, is_record
from d2ppo_core.stack.log import StackLog

RECOGNISERS = {"film": is_film, "page": is_page, "log": is_log, "record": is_record("rows")}


def make_all(folder: Path) -> dict[str, Path]:
    paths = {"film": folder / "a.mp4", "page": folder / "a.html", "log": folder / "a.log", "record": folder / "a.json"}
    with VideoWriter(paths["film"], width=16, height=16, fps=10) as video:
        video.append(np.zeros((16, 16, 3), np.uint8))
    write_page(paths["page"], "page.html.j2")
    with StackLog(paths["log"]) as log:
        log.write("arm", "started")
    paths["record"].write_text(json.dumps({"rows": [], "more": 1}))
    return paths


@pytest.mark.parametrize("kind", RECOGNISERS)
def test_each_kind_is_known_by_what_stands_in_it_and_no_other(tmp_path: Path, kind: str) -> None:
    paths = make_all(tmp_path) | {name: tmp_path / name for name in ("notes.txt", "list.json", "other.html")}
    paths["notes.txt"].write_text("precious")
    paths["list.json"].write_text("[1]")
    paths["other.html"].write_text("<!DOCTYPE html><html><body>mine</body></html>")
    assert [name for name, path in paths.items() if RECOGNISERS[kind](path)] == [kind]


def test_a_page_and_a_log_are_replaced_but_nothing_of_somebodys(tmp_path: Path) -> None:
    make_all(tmp_path)
    make_all(tmp_path)
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<html>precious</html>")
    with pytest.raises(OutputError, match="is not replaced, as it is no page of ours"):
        write_page(thesis, "page.html.j2")
    with pytest.raises(OutputError, match="is not replaced, as it is no log of a stack"):
        StackLog(thesis)
    assert thesis.read_text() == "<html>precious</html>"
