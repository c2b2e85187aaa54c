"""The milliseconds of a served world, one after the other: their pace, pauses, and calls from other threads."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

import numpy as np

from d2ppo_core.errors import WorldError
from sim.fci.calls import CallQueue
from sim.world.pace import Pacer

CYCLE_S = 1e-3
_Result = TypeVar("_Result")


class WorldLoop(ABC):
    """What every server of a world does around its cycles; `on_step` gets the world after each: advanced, unsettled."""

    def __init__(self, world: Any, on_step: tuple[Callable[[Any], None], ...]) -> None:
        """Begin with the world running, at a pace of one cycle per cycle's time."""
        self.world, self._on_step = world, on_step
        self._paused_steps: int | None = None
        self._calls, self._pacer = CallQueue(), Pacer(CYCLE_S)

    def serve(self, stop: Event) -> None:
        """Run cycles until `stop` is set."""
        while not stop.is_set():
            self.run_cycle()

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # clients send anything; comparisons refuse it
    def run_cycle(self) -> None:
        """One millisecond, unless the world is paused."""
        self._calls.run()
        if self._paused_steps == 0:
            self._stay_paused()
            return
        self._cycle(self._pacer.next() if self._is_paced() else time.perf_counter())
        if self._paused_steps:
            self._paused_steps -= 1
        for hook in self._on_step:
            hook(self.world)

    def call(self, function: Callable[[], _Result], timeout_s: float = 2.0) -> _Result:
        """Run `function` between two cycles, from any thread; returns what it returns, raises what it raises."""
        return self._calls.call(function, timeout_s)

    @property
    def is_paused(self) -> bool:
        """Whether simulated time stands still until somebody lets it go on."""
        return self._paused_steps == 0

    def pause(self, paused: bool) -> None:
        """Stop or continue simulated time; clients stay connected."""
        self._paused_steps = 0 if paused else None

    def allow_steps(self, milliseconds: int) -> None:
        """Let a paused world advance this much.

        Raises:
            WorldError: the world is not paused.
        """
        if self._paused_steps is None:
            raise WorldError("the world runs already; pause it before stepping it")
        self._paused_steps += milliseconds

    @abstractmethod
    def _is_paced(self) -> bool:
        """Whether the wall clock sets the pace."""

    @abstractmethod
    def _cycle(self, deadline: float) -> None:
        """Send what is, wait for the clients until the deadline (time.perf_counter's) or their commands, step."""

    @abstractmethod
    def _stay_paused(self) -> None:
        """Keep the clients company for a moment."""
