"""The hand's thread with a hand that does what a test wants: newest command, outcomes, holding, reconnection."""

import threading
import time
from types import SimpleNamespace

import pytest

from d2ppo_core.drivers.franka_gripper import FrankaGripper, GripperConfig
from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.control.protocols import GripperAct, GripperOrder, GripperOutcome

LIMIT_S = 5.0


class Future:
    """A command under way until somebody finishes it."""

    def __init__(self) -> None:
        self.done, self.result = threading.Event(), True

    def finish(self, result: bool = True) -> None:
        self.result = result
        self.done.set()

    def wait(self, timeout_s: float) -> bool:
        return self.done.wait(timeout_s)

    def get(self) -> bool:
        self.done.wait(LIMIT_S)
        return self.result


class Hand:
    """Stands in for franky.Gripper."""

    def __init__(self, address: str) -> None:
        self.calls: list[tuple[str, float]] = []
        self.future = Future()
        self.state = SimpleNamespace(width=0.04, is_grasped=False)
        self.slow = threading.Event()
        self.slow.set()
        self.broken = 0

    def move_async(self, width: float, speed: float) -> Future:
        return self._begin("move", width)

    def grasp_async(self, width: float, speed: float, force: float, **_: float) -> Future:
        return self._begin("grasp", force)

    def homing_async(self) -> Future:
        return self._begin("homing", 0.0)

    def _begin(self, name: str, number: float) -> Future:
        self.slow.wait(LIMIT_S)
        if self.broken:
            self.broken -= 1
            raise RuntimeError("network hiccup")
        self.calls.append((name, number))
        self.future = Future()
        return self.future

    def stop(self) -> None:
        self.calls.append(("stop", 0.0))
        self.future.finish(False)


@pytest.fixture
def hands() -> list[Hand]:
    return []


@pytest.fixture
def gripper(hands: list[Hand]):
    def open_hand(address: str) -> Hand:
        hands.append(Hand(address))
        return hands[-1]

    gripper = FrankaGripper(GripperConfig(address="127.0.0.1", force_n=25.0), open_hand)
    gripper.connect()
    yield gripper
    for hand in hands:
        hand.slow.set()
        hand.future.finish()
    gripper.close()


def wait(done) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_the_newest_command_replaces_one_under_way(gripper, hands):
    gripper.command(0.03)
    wait(lambda: hands[0].calls == [("move", 0.03)])
    assert gripper.reading.outcome == GripperOutcome.MOVING
    gripper.command(0.05)
    wait(lambda: hands[0].calls == [("move", 0.03), ("stop", 0.0), ("move", 0.05)])
    hands[0].state.width = 0.05
    hands[0].future.finish()
    wait(lambda: gripper.reading.outcome == GripperOutcome.REACHED)
    assert (gripper.reading.width_m, gripper.reading.force_n) == (0.05, 0.0)


@pytest.mark.parametrize(
    ("grasped", "width_m", "outcome", "force_n"),
    [
        (True, 0.02, GripperOutcome.GRASPED, 25.0),
        (False, 0.03, GripperOutcome.MISSED, 0.0),
        (True, 0.0005, GripperOutcome.MISSED, 0.0),
    ],
)
def test_a_grasp_says_how_it_came_out(gripper, hands, grasped, width_m, outcome, force_n):
    gripper.command(0.0)
    wait(lambda: hands[0].calls == [("grasp", 25.0)])
    hands[0].state = SimpleNamespace(width=width_m, is_grasped=grasped)
    hands[0].future.finish()
    wait(lambda: gripper.reading.outcome == outcome)
    assert (gripper.reading.width_m, gripper.reading.force_n) == (width_m, force_n)


def test_what_slips_away_is_missed(gripper, hands):
    gripper.command(0.0)
    wait(lambda: hands[0].calls)
    hands[0].state = SimpleNamespace(width=0.02, is_grasped=True)
    hands[0].future.finish()
    wait(lambda: gripper.reading.outcome == GripperOutcome.GRASPED)
    hands[0].state = SimpleNamespace(width=0.0, is_grasped=False)
    wait(lambda: gripper.reading.outcome == GripperOutcome.MISSED)


def test_a_command_that_fails_says_so(gripper, hands):
    gripper.command(0.03)
    wait(lambda: hands[0].calls)
    hands[0].future.finish(False)
    wait(lambda: gripper.reading.outcome == GripperOutcome.FAILED)


def test_told_to_hold_it_stops_opening_fingers_but_keeps_a_grasp(gripper, hands):
    gripper.command(0.06)
    wait(lambda: hands[0].calls == [("move", 0.06)])
    gripper.hold()
    wait(lambda: hands[0].calls[1:] == [("stop", 0.0)])
    gripper.command(0.0)
    wait(lambda: hands[0].calls[2:] == [("grasp", 25.0)])
    gripper.hold()
    hands[0].state = SimpleNamespace(width=0.02, is_grasped=True)
    hands[0].future.finish()
    wait(lambda: gripper.reading.outcome == GripperOutcome.GRASPED)
    assert len(hands[0].calls) == 3
    gripper.hold()
    gripper.command(0.06)
    wait(lambda: hands[0].calls[3:] == [("move", 0.06)])


def test_a_command_that_does_not_begin_is_tried_again(gripper, hands):
    hands[0].broken = 2
    gripper.command(0.03)
    wait(lambda: "network hiccup" in gripper.reading.fault)
    wait(lambda: hands[0].calls == [("move", 0.03)])
    wait(lambda: gripper.reading.fault == "")


def test_connected_anew_it_works_although_the_old_connection_still_hangs(gripper, hands, monkeypatch):
    monkeypatch.setattr("d2ppo_core.drivers.franka_gripper._END_S", 0.1)
    hands[0].slow.clear()
    gripper.command(0.03)
    time.sleep(0.1)
    gripper.close()
    assert gripper.reading.width_m == 0.0
    gripper.connect()
    gripper.command(0.05)
    wait(lambda: hands[1].calls == [("move", 0.05)])
    hands[0].slow.set()
    time.sleep(0.1)
    gripper.command(0.02)
    wait(lambda: ("move", 0.02) in hands[1].calls)
    wait(lambda: sum(thread.name == "franka-gripper" for thread in threading.enumerate()) == 1)
    assert ("move", 0.02) not in hands[0].calls


def test_no_number_is_no_command(gripper, hands):
    gripper.command(float("nan"))
    gripper.command(0.05)
    wait(lambda: hands[0].calls == [("move", 0.05)])


def test_parameters_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"gripper: force_n must lie in \(0, 70.0\], got 500"):
        GripperConfig(address="127.0.0.1", force_n=500)


def test_an_order_is_done_once_more_although_it_was_done_before_and_its_outcome_carries_its_number(gripper, hands):
    order = GripperOrder(act=GripperAct.GRASP, width_m=0.03, force_n=12.0)
    first = gripper.order(order)
    wait(lambda: hands[0].calls == [("grasp", 12.0)])
    hands[0].state = SimpleNamespace(width=0.03, is_grasped=True)
    hands[0].future.finish()
    wait(lambda: gripper.reading.outcome == GripperOutcome.GRASPED)
    assert (gripper.reading.order, gripper.reading.force_n) == (first, 12.0)
    second = gripper.order(order)
    assert second > first
    wait(lambda: hands[0].calls == [("grasp", 12.0)] * 2)
    wait(lambda: gripper.reading.order == second)


def test_calibration_that_is_interrupted_has_failed_and_is_not_tried_again(gripper, hands):
    number = gripper.order(GripperOrder(act=GripperAct.CALIBRATE))
    wait(lambda: hands[0].calls == [("homing", 0.0)])
    gripper.hold()
    wait(lambda: gripper.reading.outcome == GripperOutcome.FAILED)
    assert gripper.reading.order == number
    time.sleep(0.1)
    assert hands[0].calls == [("homing", 0.0), ("stop", 0.0)]


@pytest.mark.parametrize("clock", [lambda ms: 1e-3 * ms, lambda ms: SimpleNamespace(to_msec=lambda: ms)])
def test_a_caller_may_wait_for_the_state_of_a_time_of_the_hands_own_clock(gripper, hands, clock):
    assert not gripper.wait_for(80, 0.05), "this hand has told no time"
    hands[0].state = SimpleNamespace(width=0.03, is_grasped=False, time=clock(80))
    assert gripper.wait_for(80, LIMIT_S) and gripper.reading.width_m == 0.03
    assert gripper.reading.time_ms == 80 and not gripper.wait_for(88, 0.05)


def test_a_caller_may_wait_until_what_it_asked_for_is_on_its_way(gripper, hands):
    assert gripper.wait_begun(0.0) and gripper.sent == 0
    hands[0].slow.clear()
    gripper.command(0.03)
    assert not gripper.wait_begun(0.05) and gripper.sent == 0
    hands[0].slow.set()
    assert gripper.wait_begun(LIMIT_S) and gripper.sent == 1 and hands[0].calls == [("move", 0.03)]
    gripper.command(0.03)
    assert gripper.wait_begun(LIMIT_S) and gripper.sent == 1, "the same again is no new command"
    gripper.command(0.0)
    assert gripper.wait_begun(LIMIT_S) and gripper.sent == 2 and hands[0].calls[-1][0] == "grasp"
