"""Which command belongs to which state, and how long the world waits for it."""

from __future__ import annotations

import time

SILENT_STATES = 2
"""Clients read this many states after a Move before they send their first command."""
START_PATIENCE_S, START_S = 0.1, 0.5
"""In lock-step each later state waits this long for that first command, for so long altogether: a client that a busy
machine holds up would otherwise find itself milliseconds into its trajectory."""


class Lockstep:
    """The robot's clock and the conversation about one motion."""

    def __init__(self, patience_s: float, *, enabled: bool) -> None:
        """Wait up to `patience_s` for a command if lock-step is `enabled`, else not at all."""
        self.message_id = 0
        """The robot's clock, ms: number of the state sent last."""
        self.streaming = False
        """Whether the client has begun to answer every state with a command."""
        self._enabled, self._patience_s = enabled, patience_s
        self._patient, self._asynchronous = True, False
        self._first_message = self._last_answer = 0
        self._started_s = -START_S

    def begin(self, *, asynchronous: bool) -> None:
        """A motion has started; an asynchronous one gets commands at any rate, so that nobody waits for them."""
        self._first_message, self._last_answer = self.message_id, 0
        self._started_s, self._asynchronous = time.perf_counter(), asynchronous
        self.streaming = False

    def end(self) -> None:
        """No motion runs any more."""
        self.streaming, self._started_s = False, -START_S

    def jump(self, ahead_ms: int) -> None:
        """Set the clock forward, or back."""
        self.message_id = max(0, self.message_id + ahead_ms)
        self._first_message, self._last_answer = min(self._first_message, self.message_id), 0

    def is_answer(self, message_id: int) -> bool:
        """Tell whether a command answers the state sent last; any command of this motion starts the lock-step.

        An answer to an older state is no answer in lock-step: taken for one, the client would stay a state behind and
        skip one as soon as it is late, which looks like a jump of the set-point. Nobody answers a state that was not
        sent yet: such a number would make all later answers look old.
        """
        if message_id > self.message_id:
            return False
        if self._asynchronous:
            return True
        if message_id < self._first_message or message_id <= self._last_answer:
            return False
        self.streaming, self._last_answer = True, message_id
        return not self._enabled or message_id == self.message_id

    def patience_s(self) -> float:
        """How long the world waits beyond the millisecond for the command it expects."""
        if not self._enabled or self._asynchronous:
            return 0.0
        if self.streaming:
            return self._patience_s if self._patient else 0.0
        if self.message_id < self._first_message + SILENT_STATES:
            return 0.0
        return START_PATIENCE_S if time.perf_counter() < self._started_s + START_S else 0.0

    def count(self, *, answered: bool) -> None:
        """A cycle is over; patience is spent once per silence."""
        self._patient = answered or not self.streaming
