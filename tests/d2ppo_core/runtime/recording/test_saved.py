"""Episodes that were cut off, at each place where a recorder can be killed."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's message definitions (extra ros)")

from d2ppo_core.runtime.recording.episode import FACTS, RAW, Outcome, cut_off, finished  # noqa: E402
from d2ppo_core.runtime.recording.mcap_file import PARTIAL, messages_in  # noqa: E402
from d2ppo_core.runtime.recording.raw import Channel, RawMessage  # noqa: E402
from d2ppo_core.runtime.recording.saved import CAUSE, save_all  # noqa: E402
from d2ppo_core.runtime.recording.session import Limits, Session  # noqa: E402

BUTTON = Channel("teleop/button", "std_msgs/msg/String")


def given(count: int) -> list[RawMessage]:
    return [RawMessage(BUTTON, bytes([number]) * 200, number * 10**8 + 1, number * 10**8) for number in range(count)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one whole episode."""
    with Session(tmp_path, Limits(min_free_bytes=1)) as session:
        session.start(0, {"task": "lift"})
        for message in given(30):
            session.put(message)
        session.end(Outcome.SUCCESS, "operator", 3 * 10**9)
    return tmp_path


@pytest.fixture
def episode(root: Path) -> Path:
    return root / "episode_0001"


def test_a_whole_episode_is_left_alone(root: Path, episode: Path) -> None:
    before = {path: path.read_bytes() for path in episode.iterdir()}
    assert save_all(root) == {}
    assert before == {path: path.read_bytes() for path in episode.iterdir()}


def test_killed_before_the_facts_were_written(root: Path, episode: Path) -> None:
    (episode / FACTS).unlink()
    assert save_all(root) == {"episode_0001": "2.9 s and 30 messages saved"}
    (one,) = finished(root)
    assert (one.outcome, one.facts.stop_cause, one.facts.messages) == ("unjudged", CAUSE, {BUTTON.topic: 30})
    assert (one.facts.began_ns, one.facts.duration_s) == (1, 2.9)


@pytest.mark.parametrize("missing", [1, 8, 100, 400])
def test_killed_while_the_file_was_completed(root: Path, episode: Path, missing: int) -> None:
    (episode / FACTS).unlink()
    data = (episode / RAW).read_bytes()
    (episode / RAW).unlink()
    (episode / f"{RAW}{PARTIAL}").write_bytes(data[:-missing])
    assert save_all(root) == {"episode_0001": "2.9 s and 30 messages saved"}
    assert list(messages_in(finished(root)[0].raw)) == given(30)
    assert sorted(path.name for path in episode.iterdir()) == [FACTS, RAW] and cut_off(root) == ()


def test_saving_that_was_killed_itself_is_done_again(root: Path, episode: Path) -> None:
    (episode / FACTS).unlink()
    (episode / RAW).rename(episode / f"{RAW}{PARTIAL}")
    (episode / f"{RAW}.salvaged{PARTIAL}").write_bytes(b"half of it")
    assert save_all(root) == {"episode_0001": "2.9 s and 30 messages saved"}
    assert sorted(path.name for path in episode.iterdir()) == [FACTS, RAW]
