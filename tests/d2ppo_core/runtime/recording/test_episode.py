"""Facts of an episode and the edits after it: what counts is the last word, and no raw file changes."""

import json
from pathlib import Path

import pytest

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.episode import (
    EDITS,
    FACTS,
    RAW,
    Facts,
    Outcome,
    append_edit,
    cut_off,
    finished,
    replace_text,
)


def facts(name: str, outcome: str = "success") -> Facts:
    return Facts(
        name=name,
        outcome=outcome,
        stop_cause="operator",
        began_ns=3,
        duration_s=12.5,
        began_utc="2026-01-02T03:04:05+00:00",
        bundle_name="lift_image",
        bundle_hash="abc",
        calibration_hash="def",
        setup={"task": "lift", "cameras": {"wrist/color": "96x96 rgb8"}},
        versions={"mcap": "1.6.0"},
        messages={"arm/state": 1500},
        cadence_hz={"arm/state": 125.0},
        lost={"arm/state": 1},
    )


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()
        facts(name).write(root / name)


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    make(tmp_path, "episode_0001")
    assert Facts.read(tmp_path / "episode_0001") == facts("episode_0001")
    assert [path.name for path in (tmp_path / "episode_0001").iterdir()] == [FACTS]


def test_episodes_are_in_the_order_of_their_numbers_and_without_edits_as_they_ended(tmp_path: Path) -> None:
    make(tmp_path, "episode_0010", "episode_0002", "episode_0001")
    found = finished(tmp_path)
    assert [one.name for one in found] == ["episode_0001", "episode_0002", "episode_0010"]
    assert all(
        (one.outcome, one.first_s, one.last_s, one.dropped) == ("success", 0, float("inf"), False) for one in found
    )
    assert found[0].raw == tmp_path / "episode_0001" / RAW


def test_the_last_edit_counts_field_by_field(tmp_path: Path) -> None:
    make(tmp_path, "episode_0001", "episode_0002")
    append_edit(tmp_path, "episode_0001", outcome="failure")
    append_edit(tmp_path, "episode_0001", first_s=1.0, last_s=9.0)
    append_edit(tmp_path, "episode_0002", dropped=True)
    append_edit(tmp_path, "episode_0001", outcome="success")
    append_edit(tmp_path, "episode_0002", dropped=False)
    one, two = finished(tmp_path)
    assert (one.outcome, one.first_s, one.last_s) == ("success", 1.0, 9.0)
    assert not two.dropped
    assert [json.loads(line)["episode"][-1] for line in (tmp_path / EDITS).read_text().splitlines()] == list("11212")
    assert one.facts == facts("episode_0001")


def test_edits_of_an_episode_that_was_deleted_do_not_matter(tmp_path: Path) -> None:
    make(tmp_path, "episode_0001", "episode_0002")
    append_edit(tmp_path, "episode_0002", dropped=True)
    (tmp_path / "episode_0002" / FACTS).unlink()
    (tmp_path / "episode_0002").rmdir()
    assert [one.name for one in finished(tmp_path)] == ["episode_0001"]


def test_an_edit_that_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    make(tmp_path, "episode_0001")
    append_edit(tmp_path, "episode_0001", dropped=True)
    with (tmp_path / EDITS).open("a") as file:
        file.write('{"episode": "episode_0001", "colour": "red"}\n')
    with pytest.raises(RecordingError, match="edits.jsonl: line 2: .*colour"):
        finished(tmp_path)
    (tmp_path / EDITS).write_text("[1, 2]\n")
    with pytest.raises(RecordingError, match=r"line 1 is no edit: '\[1, 2\]'"):
        finished(tmp_path)


def test_nothing_is_decided_about_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="it was cut off"):
        append_edit(tmp_path, "episode_0001", dropped=True)
    assert not (tmp_path / EDITS).exists()


def test_an_episode_without_facts_is_cut_off_and_not_finished(tmp_path: Path) -> None:
    make(tmp_path, "episode_0001", "episode_0003")
    (tmp_path / "episode_0002").mkdir()
    (tmp_path / "notes").mkdir()
    assert [one.name for one in finished(tmp_path)] == ["episode_0001", "episode_0003"]
    assert [folder.name for folder in cut_off(tmp_path)] == ["episode_0002"]


def test_a_file_changes_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    replace_text(path, "one\n")
    with path.open() as before:
        replace_text(path, "two\n")
        assert before.read() == "one\n"  # whoever had it open sees all of the old one
    assert path.read_text() == "two\n" and [one.name for one in tmp_path.iterdir()] == ["setup.json"]


def test_outcomes_are_the_words_that_files_and_messages_carry() -> None:
    assert [str(outcome) for outcome in Outcome] == ["success", "failure", "discarded", "unjudged"]
