"""What nodes do besides in deterministic stepping: chunks and hands are waited for, and the world is told."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.drivers.franka_gripper import FrankaGripper, GripperConfig  # noqa: E402
from d2ppo_core.runtime.inference.latency import latencies  # noqa: E402
from d2ppo_core.stack.stepping import CHUNK, HAND, JOIN, LEAVE, PLAN, TICK, Host, Member, Word  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk  # noqa: E402
from d2ppo_nodes.convert import time_msg  # noqa: E402
from d2ppo_nodes.in_step import ArmInStep, PolicyInStep  # noqa: E402

ADDRESS = "127.0.0.253"
MS = 1_000_000


class Hand:
    """Stands in for franky.Gripper: its clock is what a test says, and its stop may be held up."""

    def __init__(self, _: str) -> None:
        self.time_ms = 0
        self.stoppable = threading.Event()
        self.stoppable.set()
        self.calls: list[str] = []

    @property
    def state(self) -> SimpleNamespace:
        time.sleep(1e-3)
        return SimpleNamespace(width=0.04, is_grasped=False, time=1e-3 * self.time_ms)

    def move_async(self, width: float, speed: float) -> SimpleNamespace:
        self.calls.append(f"move {width}")
        return SimpleNamespace(wait=lambda _: False, get=lambda: True)

    def stop(self) -> None:
        self.stoppable.wait(10.0)
        self.calls.append("stop")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    host = Host(ADDRESS)
    yield host
    host.close()


@pytest.fixture
def hand() -> Hand:
    return Hand("")


@pytest.fixture
def gripper(hand: Hand) -> Iterator[FrankaGripper]:
    gripper = FrankaGripper(GripperConfig(address=ADDRESS), lambda _: hand)
    gripper.connect()
    yield gripper
    hand.stoppable.set()
    gripper.close()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def arm(host: Host, gripper: FrankaGripper, warnings: list[str]) -> Iterator[ArmInStep]:
    arm = ArmInStep(Member("panda/arm", ADDRESS), gripper, lambda: None, warnings.append, "127.0.0.9")
    arm.join()
    yield arm
    arm.close()


def chunk(sequence: int, stamp_ms: int, published_ms: int) -> ActionChunk:
    message = ActionChunk(sequence=sequence, published=time_msg(published_ms * MS))
    message.header.stamp = time_msg(stamp_ms * MS)
    return message


def said(words: list[Word]) -> list[tuple[str, int]]:
    return [(word.what, word.stamp_ns // MS) for word in words]


def test_a_chunk_is_received_at_once_and_taken_at_the_first_tick_after_its_time(arm, host, hand) -> None:
    arm.keep(chunk(2, 100, 125))
    arm.keep(chunk(1, 50, 75))
    assert said(host.words()) == [(JOIN, 0), (CHUNK, 100), (CHUNK, 50)]
    hand.time_ms = 200
    assert arm.begin(72 * MS) == []
    assert [message.sequence for message in arm.begin(80 * MS)] == [1]
    assert [message.sequence for message in arm.begin(128 * MS)] == [2]
    arm.keep(chunk(3, 150, 175))
    arm.forget()
    assert arm.begin(176 * MS) == []


def test_a_tick_begins_with_the_hands_state_of_its_own_time(arm, hand) -> None:
    threading.Timer(0.1, lambda: setattr(hand, "time_ms", 48)).start()
    began_s = time.monotonic()
    arm.begin(48 * MS)
    assert hand.time_ms == 48 and time.monotonic() > began_s + 0.05


def test_a_tick_ends_when_what_the_hand_was_told_is_on_its_way(arm, host, hand, gripper) -> None:
    gripper.command(0.03)
    arm.end(56 * MS)
    assert hand.calls == ["move 0.03"]
    (word,) = [word for word in host.words() if word.what == TICK]
    assert (word.stamp_ns, word.orders, word.answers) == (56 * MS, 1, (TICK, CHUNK))


def test_a_hand_that_does_not_hear_its_stop_is_reported_and_goes_on_when_it_is_free(arm, host, hand, gripper) -> None:
    gripper.command(0.03)
    arm.end(56 * MS)
    host.words()
    hand.stoppable.clear()
    gripper.command(0.05)
    threading.Timer(0.2, hand.stoppable.set).start()
    arm.end(64 * MS)
    words = host.words()
    assert said(words) == [(HAND, 0), (TICK, 64)]
    assert words[0].robot == "127.0.0.9", "of two robots, whose hand it is"
    assert [word.orders for word in words] == [1, 2], "the motion that the world may end is the first one"
    assert hand.calls == ["move 0.03", "stop", "move 0.05"]


def test_a_policy_answers_for_frames_or_without_any_source_for_ticks_and_says_how_late_it_will_be(host) -> None:
    policy = PolicyInStep(Member("panda/policy", ADDRESS), latencies(15.0, 10.0, "", 0))
    policy.see(("wrist",))
    policy.join()
    policy.done(50 * MS, chunk=True)
    policy.see(())
    policy.done(56 * MS, chunk=False)
    policy.close()
    words = host.words()
    assert said(words) == [(JOIN, 0), (PLAN, 50), (JOIN, 0), (TICK, 56), (LEAVE, 0)]
    assert [word.answers for word in words] == [(PLAN,), (PLAN,), (TICK,), (TICK,), ()]
    assert words[0].latency_ns == 25 * MS and words[1].chunk and not words[3].chunk
