"""A folder of episodes: starts and ends, verdicts, other set-ups, full and slow disks, kills."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording import writer as writer_module
from d2ppo_core.runtime.recording.episode import EDITS, FACTS, RAW, Facts, Outcome, append_edit, cut_off, finished
from d2ppo_core.runtime.recording.mcap_file import PARTIAL, messages_in
from d2ppo_core.runtime.recording.raw import Channel, RawMessage
from d2ppo_core.runtime.recording.saved import save_all
from d2ppo_core.runtime.recording.session import Limits, Session

SETUP = {"task": "lift", "cameras": {"wrist": "96x96 rgb8"}}
HEARD = Channel("teleop/button", "std_msgs/msg/String")
SMALL = Limits(queue_bytes=10**6, min_free_bytes=1)

pytest.importorskip("rclpy", reason="needs ROS 2's message definitions (extra ros)")


def message(number: int, size: int = 100) -> RawMessage:
    return RawMessage(HEARD, bytes(size), number * 10**7, number * 10**7)


def record(session: Session, count: int = 11, outcome: Outcome = Outcome.SUCCESS, **known: Any) -> Facts:
    session.start(0, SETUP, **known)
    for number in range(count):
        session.put(message(number))
    return session.end(outcome, "operator", 10**9)


def test_an_episode_says_what_it_holds_and_how_it_came_out(tmp_path: Path) -> None:
    with Session(tmp_path, SMALL) as session:
        record(session, bundle_name="lift_image", bundle_hash="abc")
    facts = Facts.read(tmp_path / "episode_0001")
    assert (facts.outcome, facts.stop_cause, facts.duration_s) == ("success", "operator", 1.0)
    assert facts.messages == {HEARD.topic: 11} and facts.cadence_hz == {HEARD.topic: 100.0} and facts.lost == {}
    assert (facts.bundle_name, facts.bundle_hash, facts.setup) == ("lift_image", "abc", SETUP)
    (one,) = finished(tmp_path)
    assert [found.stamp_ns for found in messages_in(one.raw)] == [number * 10**7 for number in range(11)]


def test_verdicts_after_the_end_are_edits_and_the_raw_files_stay_as_they_are(tmp_path: Path) -> None:
    with Session(tmp_path, SMALL) as session:
        record(session, outcome=Outcome.UNJUDGED)
        before = {path: path.read_bytes() for path in (tmp_path / "episode_0001").iterdir()}
        session.end(Outcome.FAILURE, "operator", 0)
        with pytest.raises(RecordingError, match="episode_0001 has been judged already: failure"):
            session.end(Outcome.SUCCESS, "operator", 0)
    append_edit(tmp_path, "episode_0001", first_s=0.2, last_s=0.8)
    append_edit(tmp_path, "episode_0001", first_s=0.1)
    (one,) = finished(tmp_path)
    assert (one.outcome, one.first_s, one.last_s, one.dropped) == ("failure", 0.1, 0.8, False)
    assert before == {path: path.read_bytes() for path in (tmp_path / "episode_0001").iterdir()}
    assert len((tmp_path / EDITS).read_text().splitlines()) == 3


def test_what_makes_no_sense_is_refused_by_name(tmp_path: Path) -> None:
    with Session(tmp_path, SMALL) as session:
        with pytest.raises(RecordingError, match="no episode is being recorded"):
            session.end(Outcome.SUCCESS, "operator", 0)
        record(session)
        with pytest.raises(RecordingError, match="episode_0001 has been judged already: success"):
            session.end(Outcome.SUCCESS, "operator", 0)
        with pytest.raises(RecordingError, match="episode_0001 has ended already"):
            session.end(Outcome.UNJUDGED, "operator", 0)
        session.start(0, SETUP)
        with pytest.raises(RecordingError, match="episode_0002 is being recorded already"):
            session.start(0, SETUP)
        with pytest.raises(RecordingError, match="another recorder writes into"):
            Session(tmp_path)
        session.end(Outcome.DISCARDED, "operator", 0)
    with pytest.raises(RecordingError, match="there is no folder"):
        finished(tmp_path / "none")
    (tmp_path / EDITS).write_text("{}\nhalf a li")
    with pytest.raises(RecordingError, match=r"line 2 is no edit: 'half a li'"):
        finished(tmp_path)


def test_a_folder_goes_on_with_the_same_set_up_and_refuses_another_one(tmp_path: Path) -> None:
    with Session(tmp_path, SMALL) as session:
        record(session)
    with Session(tmp_path, SMALL) as session:
        assert session.episodes == 1
        assert record(session).name == "episode_0002"
        with pytest.raises(
            RecordingError, match=r"cameras \{'wrist': '96x96 rgb8'\}, here it is \{'wrist': '640x480 rgb8'"
        ):
            session.start(0, SETUP | {"cameras": {"wrist": "640x480 rgb8"}})
        assert not session.is_recording


def test_an_episode_that_is_forgotten_ends_by_itself(tmp_path: Path) -> None:
    with Session(tmp_path, Limits(min_free_bytes=1, max_duration_s=5.0)) as session:
        session.start(0, SETUP)
        assert session.due(4 * 10**9) == ""
        assert session.due(5 * 10**9) == "longest duration of 5 s"
        session.end(Outcome.UNJUDGED, session.due(5 * 10**9), 5 * 10**9)


def test_what_a_slow_disk_cannot_take_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    honest = writer_module.free_bytes_at
    monkeypatch.setattr(writer_module, "free_bytes_at", lambda folder: (slow.wait(20.0), honest(folder))[1])
    with Session(tmp_path, Limits(queue_bytes=3000, min_free_bytes=1)) as session:
        session.start(0, SETUP)
        for number in range(50):
            session.put(message(number, size=1000))
        slow.set()
        facts = session.end(Outcome.SUCCESS, "operator", 10**9)
    assert facts.messages[HEARD.topic] + facts.lost[HEARD.topic] == 50
    assert facts.lost[HEARD.topic] >= 44  # three wait, and three more while these are written


def test_an_episode_ends_whole_before_the_disk_is_full(tmp_path: Path) -> None:
    room = writer_module.free_bytes_at(tmp_path)
    with Session(tmp_path, Limits(queue_bytes=10**6, min_free_bytes=1)) as session:
        session.start(0, SETUP)
        session.put(message(0))
        while not session.writer.counts:
            pass
        session.writer._min_free_bytes = 2 * room
        session.put(message(1))
        while not session.due(0):
            pass
        assert session.due(0).startswith("disk full: ")
        facts = session.end(Outcome.UNJUDGED, session.due(0), 10**9)
        assert facts.stop_cause.startswith("disk full: ")
        assert len(list(messages_in(finished(tmp_path)[0].raw))) == 1
    with Session(tmp_path, Limits(min_free_bytes=2 * room)) as session:
        with pytest.raises(RecordingError, match="disk full: .* make room or choose another folder"):
            session.start(0, SETUP)


def test_a_write_that_fails_fails_the_episode_aloud(tmp_path: Path) -> None:
    with Session(tmp_path, SMALL) as session:
        record(session)
        session.start(0, SETUP)
        os.close(session.writer._file._stream.fileno())  # what any write says from now on: bad file descriptor
        for number in range(60):
            session.put(message(number, size=10**5))
        with pytest.raises(RecordingError, match=r"episode_0002 is not whole: .*; what there is: d2ppo data salvage"):
            session.end(Outcome.SUCCESS, "operator", 0)
        assert "episode_0002" in session.failure
        assert [one.name for one in finished(tmp_path)] == ["episode_0001"]
        assert session.cut_off() == ("episode_0002",)


def test_a_killed_recorder_leaves_all_finished_episodes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from test_session import *\n"
        "session = Session(Path(sys.argv[1]), SMALL)\n"
        "while True: print(record(session, 500).name, flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    for wanted in (3, 1, 2):
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            said = [process.stdout.readline().strip() for _ in range(wanted)]
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read().split()
        whole = {one.name: one for one in finished(tmp_path)}
        assert set(said) <= set(whole)
        assert all(len(list(messages_in(one.raw))) == 500 for one in whole.values())
    assert len(cut_off(tmp_path)) <= 3


def test_facts_that_are_not_ours_are_named(tmp_path: Path) -> None:
    (tmp_path / "episode_0001").mkdir()
    with pytest.raises(RecordingError, match="it was cut off"):
        Facts.read(tmp_path / "episode_0001")
    for content in ("[1]", "{", json.dumps({"name": "episode_0001", "colour": 1})):
        (tmp_path / "episode_0001" / FACTS).write_text(content)
        with pytest.raises(RecordingError, match="cannot be read"):
            finished(tmp_path)


def test_what_was_cut_off_is_saved_without_a_verdict(tmp_path: Path) -> None:
    with Session(tmp_path, SMALL) as session:
        for _ in range(3):
            record(session)
    (tmp_path / "episode_0001" / FACTS).unlink()  # killed between the two files
    whole = tmp_path / "episode_0002" / RAW
    whole.with_name(f"{RAW}{PARTIAL}").write_bytes(whole.read_bytes()[:-300])  # within the summary at the end
    whole.unlink()
    (tmp_path / "episode_0002" / FACTS).unlink()
    (tmp_path / "episode_0004").mkdir()
    said = save_all(tmp_path)
    assert said["episode_0001"] == said["episode_0002"] == "0.1 s and 11 messages saved"
    assert "cannot be read" in said["episode_0004"]
    found = [(one.name, one.outcome, one.facts.stop_cause) for one in finished(tmp_path)]
    assert found[:2] == [(f"episode_000{number}", "unjudged", "cut off, saved afterwards") for number in (1, 2)]
    assert found[2] == ("episode_0003", "success", "operator")
