"""Arms that work together: they start together, none goes on alone, an emergency stop concerns all."""

import pytest

from d2ppo_core.errors import RobotError
from d2ppo_core.runtime.control.arm import ArmMode
from d2ppo_core.runtime.control.pair import HOMING, Order, PairMode, PairWatch

MS = 1_000_000


class Arms:
    """Two arms that say what they are told to, every 8 ms."""

    def __init__(self) -> None:
        self.watch = PairWatch(("left", "right"), silence_s=0.3)
        self.modes: dict[str, ArmMode | None] = {"left": ArmMode.IDLE, "right": ArmMode.IDLE}
        self.epochs = {"left": 1, "right": 1}
        self.now_ns = 0

    def run(self, milliseconds: int = 8, **modes: ArmMode | None) -> list[Order]:
        """Let time pass; the orders given meanwhile. An arm of mode None is silent."""
        self.modes |= modes
        orders = []
        for _ in range(max(1, milliseconds // 8)):
            self.now_ns += 8 * MS
            for name, mode in self.modes.items():
                if mode is not None:
                    self.watch.hear(name, mode, "a reason", self.epochs[name], self.now_ns)
            orders.append(self.watch.look(self.now_ns))
        return [order for order in orders if order is not Order.NONE]

    @property
    def mode(self) -> PairMode:
        return self.watch.mode(self.now_ns)

    def start(self) -> None:
        self.run(left=ArmMode.READY, right=ArmMode.READY)
        self.watch.begin(self.now_ns)
        assert self.run(left=ArmMode.RUNNING) == [] and self.mode == PairMode.STARTING
        assert self.run(right=ArmMode.RUNNING) == [] and self.mode == PairMode.RUNNING


@pytest.fixture
def arms() -> Arms:
    return Arms()


def test_start_needs_both_to_be_ready_and_says_what_they_are(arms: Arms):
    with pytest.raises(RobotError, match="start needs READY; together the arms are WAITING: left silent, right silent"):
        arms.watch.begin(0)
    arms.run(left=ArmMode.READY)
    with pytest.raises(RobotError, match=r"are IDLE: left READY \(a reason\), right IDLE"):
        arms.watch.begin(arms.now_ns)
    arms.start()


@pytest.mark.parametrize(
    "mode", [mode for mode in ArmMode if mode not in (ArmMode.RUNNING, ArmMode.ESTOPPED)], ids=lambda mode: mode.name
)
@pytest.mark.parametrize("name", ["left", "right"])
def test_when_one_leaves_running_the_other_is_stopped_once(arms: Arms, name: str, mode: ArmMode):
    arms.start()
    assert arms.run(**{name: mode}) == [Order.STOP]
    assert f"{name} is {mode.name}" in arms.watch.reason
    other = "right" if name == "left" else "left"
    assert arms.run(100) == [], "the partner's last words must not lead to a second stop"
    assert arms.run(**{other: ArmMode.READY}) == []
    assert f"{name} is {mode.name}" in arms.watch.reason


def test_an_arm_that_falls_silent_stops_the_other(arms: Arms):
    arms.start()
    assert arms.run(290, left=None) == []
    assert arms.run(40) == [Order.STOP]
    assert "left says nothing for 0.3" in arms.watch.reason


def test_a_start_that_only_one_follows_is_taken_back(arms: Arms):
    arms.run(left=ArmMode.READY, right=ArmMode.READY)
    arms.watch.begin(arms.now_ns)
    assert arms.run(1990, left=ArmMode.RUNNING) == []
    assert arms.run(40)[:1] == [Order.STOP]
    assert "not all arms have started" in arms.watch.reason


def test_an_arm_that_somebody_starts_alone_is_stopped(arms: Arms):
    arms.run(left=ArmMode.READY, right=ArmMode.READY)
    assert arms.run(240, left=ArmMode.RUNNING) == [Order.STOP]
    assert "left moved alone" in arms.watch.reason


def test_emergency_stop_of_one_is_that_of_both_until_it_is_cleared(arms: Arms):
    arms.start()
    assert arms.run(left=ArmMode.ESTOPPED) == [Order.ESTOP]
    assert arms.run(right=ArmMode.ESTOPPED) == [] and arms.mode == PairMode.ESTOPPED
    assert arms.run(left=ArmMode.IDLE) == [Order.ESTOP], "cleared behind the coordinator's back"
    arms.run(left=ArmMode.ESTOPPED)
    arms.watch.clear(arms.now_ns)
    assert arms.run(100) == [], "states that were sent before must not stop the arms again"
    arms.run(left=ArmMode.IDLE, right=ArmMode.IDLE)
    assert arms.mode == PairMode.IDLE
    with pytest.raises(RobotError, match="no emergency stop to clear"):
        arms.watch.clear(arms.now_ns)


def test_an_arm_that_does_not_clear_stops_both_again(arms: Arms):
    arms.run(left=ArmMode.ESTOPPED, right=ArmMode.ESTOPPED)
    arms.watch.clear(arms.now_ns)
    assert arms.run(240, left=ArmMode.IDLE)[:1] == [Order.ESTOP]


def test_reason_says_what_the_operator_may_do_next(arms: Arms):
    assert "waits" in arms.watch.reason
    arms.run()
    assert arms.watch.reason == "call home"
    arms.run(left=ArmMode.READY, right=ArmMode.READY)
    arms.watch.home()
    assert arms.run() == [] and arms.mode == PairMode.IDLE, "these states are older than the homing"
    arms.epochs["left"] = 2
    arms.run()
    assert arms.watch.reason == HOMING and arms.mode == PairMode.IDLE
    arms.epochs["right"] = 2
    arms.run()
    assert arms.watch.reason == "call start" and arms.mode == PairMode.READY
