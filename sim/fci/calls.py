"""Calls from other threads into the one that runs the world."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class CallQueue:
    """Anybody may `call`; the world's thread does it when it comes to `run`."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._calls: SimpleQueue[tuple[Callable[[], object], Future[Any]]] = SimpleQueue()

    def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """What `function` returns, or raises, in the world's thread.

        Raises:
            TimeoutError: the world did not come to it; then it does not happen later either.
        """
        future: Future[_Result] = Future()
        self._calls.put((function, future))
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def run(self) -> None:
        """Do what has been asked for since the last time."""
        while not self._calls.empty():  # nobody else takes any out
            function, future = self._calls.get_nowait()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except Exception as error:  # the caller's thread gets it
                future.set_exception(error)
