"""``d2ppo data ls``, ``judge`` and ``salvage`` from the command line."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from d2ppo_core.cli.main import cli
from d2ppo_core.runtime.recording.episode import FACTS, RAW, Outcome, finished
from d2ppo_core.runtime.recording.mcap_file import PARTIAL
from d2ppo_core.runtime.recording.raw import Channel, RawMessage
from d2ppo_core.runtime.recording.session import Limits, Session

pytest.importorskip("rclpy", reason="needs ROS 2's message definitions (extra ros)")


def recorded(root: Path, episodes: int) -> None:
    with Session(root, Limits(min_free_bytes=1)) as session:
        for _ in range(episodes):
            session.start(0, {"task": "lift"})
            for number in range(20):
                session.put(RawMessage(Channel("said", "std_msgs/msg/String"), bytes(50), number * 10**8, 0))
            session.end(Outcome.SUCCESS, "operator", 2 * 10**9)


def test_what_was_cut_off_is_saved_and_told_by_name(tmp_path: Path) -> None:
    recorded(tmp_path, 2)
    (tmp_path / "episode_0002" / FACTS).unlink()
    raw = tmp_path / "episode_0002" / RAW
    raw.rename(raw.with_name(f"{RAW}{PARTIAL}"))
    done = CliRunner().invoke(cli, ["data", "salvage", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "episode_0002: 1.9 s and 20 messages saved\n")
    assert [(one.name, one.outcome) for one in finished(tmp_path)] == [
        ("episode_0001", "success"),
        ("episode_0002", "unjudged"),
    ]
    assert not raw.with_name(f"{RAW}{PARTIAL}").exists()
    done = CliRunner().invoke(cli, ["data", "salvage", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, f"{tmp_path}: nothing was cut off\n")


def test_what_cannot_be_saved_is_told_and_left(tmp_path: Path) -> None:
    recorded(tmp_path, 1)
    (tmp_path / "episode_0001" / FACTS).unlink()
    (tmp_path / "episode_0001" / RAW).write_bytes(b"\x89MCAP0\r\n and then nothing")
    done = CliRunner().invoke(cli, ["data", "salvage", str(tmp_path)])
    assert done.exit_code == 0 and done.output.startswith("episode_0001: ") and "cannot be read" in done.output
    assert finished(tmp_path) == ()


def test_episodes_are_listed_as_they_count(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    (tmp_path / "episode_0003" / FACTS).unlink()
    before = {path: path.read_bytes() for path in tmp_path.glob("episode_*/*")}
    for episode, verdict in (("episode_0001", "failure"), ("episode_0002", "discarded"), ("episode_0001", "unjudged")):
        done = CliRunner().invoke(cli, ["data", "judge", str(tmp_path), episode, verdict])
        assert (done.exit_code, done.output) == (0, f"{episode}: {verdict}\n")
    done = CliRunner().invoke(cli, ["data", "ls", str(tmp_path)])
    assert done.output.splitlines() == [
        "episode_0001  unjudged      2.0 s  no policy  operator",
        "episode_0002  discarded     2.0 s  no policy  operator",
        "episode_0003  being recorded, or cut off",
        f"{tmp_path}: 2 episodes, 0 success, 0 failure, 1 discarded, 1 unjudged",
    ]
    assert before == {path: path.read_bytes() for path in tmp_path.glob("episode_*/*")}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["ls", "{0}/none"], "there is no folder"),
        (["judge", "{0}", "episode_0009", "success"], "it was cut off"),
        (["judge", "{0}", "episode_0001", "splendid"], "'splendid' is not one of"),
    ],
)
def test_what_is_not_there_is_refused_in_words(tmp_path: Path, words: list[str], reason: str) -> None:
    recorded(tmp_path, 1)
    done = CliRunner().invoke(cli, ["data", *(word.format(tmp_path) for word in words)])
    assert done.exit_code != 0 and reason in done.output + str(done.exception)
