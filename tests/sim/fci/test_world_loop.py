"""Pauses, single milliseconds and calls of whatever runs a world."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from d2ppo_core.errors import WorldError
from sim.fci.world_loop import WorldLoop


class Counted(WorldLoop):
    def __init__(self):
        self.cycles, self.waits, self.seen = 0, 0, []
        super().__init__("the world", (self.seen.append,))

    def _is_paced(self):
        return False

    def _cycle(self, deadline):
        self.cycles += 1

    def _stay_paused(self):
        self.waits += 1


def test_a_paused_world_advances_by_what_it_is_allowed_and_waits_again():
    loop = Counted()
    loop.pause(True)
    loop.run_cycle()
    loop.allow_steps(3)
    for _ in range(5):
        loop.run_cycle()
    assert (loop.cycles, loop.waits) == (3, 3)
    loop.pause(False)
    loop.run_cycle()
    assert loop.cycles == 4 and loop.seen == ["the world"] * 4


def test_a_running_world_takes_no_single_steps():
    with pytest.raises(WorldError, match="pause it before stepping it"):
        Counted().allow_steps(1)


def test_calls_of_a_paused_world_are_answered():
    loop, done = Counted(), []
    loop.pause(True)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(loop.call, lambda: done.append("now") or "done", 5.0)
        while not answer.done():
            loop.run_cycle()
    assert answer.result() == "done" and done == ["now"] and loop.cycles == 0
