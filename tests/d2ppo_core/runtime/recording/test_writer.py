"""An episode's writer: order, counts, bounds of memory and disk, and an end that says what happened."""

import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's message definitions (extra ros)")

from d2ppo_core.runtime.recording import writer as module  # noqa: E402
from d2ppo_core.runtime.recording.mcap_file import PARTIAL, messages_in  # noqa: E402
from d2ppo_core.runtime.recording.raw import Channel, RawMessage  # noqa: E402
from d2ppo_core.runtime.recording.writer import EpisodeWriter, free_bytes_at  # noqa: E402

SAID = Channel("teleop/button", "std_msgs/msg/String")
ALSO = Channel("another/button", "std_msgs/msg/String")


def message(number: int, channel: Channel = SAID, size: int = 100) -> RawMessage:
    return RawMessage(channel, bytes(size), number * 10**7 + 5, number * 10**7)


def writing(path: Path, **limits: int) -> EpisodeWriter:
    return EpisodeWriter(path, **{"queue_bytes": 10**6, "min_free_bytes": 1} | limits)


def wait(done, limit_s: float = 20.0) -> None:
    until_s = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def test_messages_of_all_topics_keep_their_order_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "episode.mcap"
    writer = writing(path)
    given = [message(number, SAID if number % 3 else ALSO) for number in range(30)]
    assert all(writer.put(one) for one in given)
    assert writer.finish() and writer.failure == ""
    assert list(messages_in(path)) == given
    assert writer.counts == {SAID.topic: 20, ALSO.topic: 10} and not writer.lost
    assert writer.spans == {SAID.topic: (10**7, 29 * 10**7), ALSO.topic: (0, 27 * 10**7)}


def test_an_episode_without_a_message_is_a_whole_file(tmp_path: Path) -> None:
    writer = writing(tmp_path / "episode.mcap")
    assert writer.finish()
    assert list(messages_in(tmp_path / "episode.mcap")) == []


def test_memory_is_bounded_and_free_again_once_the_disk_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, honest = threading.Event(), free_bytes_at
    monkeypatch.setattr(module, "free_bytes_at", lambda folder: (go_on.wait(20.0), honest(folder))[1])
    writer = writing(tmp_path / "episode.mcap", queue_bytes=1000)
    taken = [writer.put(message(number, size=250)) for number in range(10)]
    assert taken == [True] * 4 + [False] * 6
    assert writer.lost == {SAID.topic: 6}
    go_on.set()
    wait(lambda: writer.counts[SAID.topic] == 4 and writer._waiting_bytes == 0)
    assert writer.put(message(10, size=1000)) and not writer.put(message(11, size=1001))
    assert writer.finish()
    assert [one.stamp_ns // 10**7 for one in messages_in(tmp_path / "episode.mcap")] == [0, 1, 2, 3, 10]


def test_a_bound_of_free_space_ends_a_whole_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writing(tmp_path / "episode.mcap", min_free_bytes=1000)
    writer.put(message(0))
    wait(lambda: writer.counts[SAID.topic] == 1)
    monkeypatch.setattr(module, "free_bytes_at", lambda folder: 1050)
    writer.put(message(1))
    wait(lambda: writer.failure)
    assert writer.failure == "disk full: 0 MiB are left, 0 MiB are kept free"
    assert not writer.put(message(2)) and writer.lost == {SAID.topic: 1}
    assert writer.finish()
    assert [one.stamp_ns for one in messages_in(tmp_path / "episode.mcap")] == [0]


def test_a_message_of_an_unknown_type_fails_the_episode_by_its_name(tmp_path: Path) -> None:
    writer = writing(tmp_path / "episode.mcap")
    writer.put(message(0, Channel("strange", "no_such_msgs/msg/Thing")))
    wait(lambda: writer.failure)
    assert "no_such_msgs/msg/Thing" in writer.failure
    assert not writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == [f"episode.mcap{PARTIAL}"]


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / f"episode.mcap{PARTIAL}").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        writing(tmp_path / "episode.mcap")
    assert (tmp_path / f"episode.mcap{PARTIAL}").read_bytes() == b"somebody's"


def test_free_space_is_what_the_system_says(tmp_path: Path) -> None:
    assert 0 < free_bytes_at(tmp_path)
