"""What a person sees of a fine-tuning run: one bar of iterations that says what the present one is busy with."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from tqdm import tqdm

Progress = Callable[[float], None]
"""Told which share (0 … 1) of a piece of work is done."""

ACTING, LEARNING, EVALUATING, CONFIRMING = "acting", "learning", "evaluating", "confirming"
_REFRESH_S = 0.5


def silent(share: float) -> None:
    """Nobody watches."""


class IterationBar:
    """A bar of `total` iterations; an iteration of minutes moves within."""

    def __init__(self, total: int, done: int, *, shown: bool) -> None:
        """Begin after `done` iterations; not `shown` prints nothing."""
        self._bar = tqdm(total=total, initial=done, unit="iteration", disable=not shown, dynamic_ncols=True)
        self._drawn_s = -math.inf

    def stage(self, name: str) -> Progress:
        """What the present iteration does from now on: its progress."""

        def advance(share: float) -> None:
            now_s = time.monotonic()
            if now_s - self._drawn_s >= _REFRESH_S:
                self._drawn_s = now_s
                self._bar.set_description(f"{name} {share:.0%}")

        return advance

    def say(self, text: str) -> None:
        """A line of its own, which stays."""
        self._bar.write(f"d2ppo: {text}", file=sys.stderr)

    def finish(self, scalars: Mapping[str, float], best: float | None) -> None:
        """An iteration is over; `best` is the best evaluation, None before the first."""
        success = scalars["rollout/success"]
        self._bar.update()
        self._bar.set_postfix(
            {
                "success": "no episode ended yet" if math.isnan(success) else f"{success:.2f}",
                "best": "not evaluated yet" if best is None else f"{best:.2f}",
                "steps_s": f"{scalars['speed/env_steps_per_s']:.0f}",
            }
        )

    def __enter__(self) -> "IterationBar":
        """Return the bar, which stands already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar where it stands."""
        self._bar.close()
