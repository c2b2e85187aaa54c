"""A browser's page as a device: what is held and pressed, in messages of JSON; a page that goes quiet has let go."""

import json
from collections import deque
from typing import Any

import numpy as np

from d2ppo_core.runtime.teleop.sample import Button, Sample

SILENCE_S = 0.12
"""A page that holds says so 25 times a second; one that says nothing for so long is gone, or its connection is."""


class PagePort:
    """Messages that a page sent, from whichever thread; takes the place of a file."""

    def __init__(self) -> None:
        """Begin without a page."""
        self._messages: deque[bytes] = deque(maxlen=256)
        self._urgent: deque[bytes] = deque(maxlen=16)
        self.connected = False
        """Whether a page steers; what one that left had sent does not count any more."""

    def push(self, message: bytes, *, urgent: bool = False) -> None:
        """Take a message; an urgent one counts whoever steers."""
        (self._urgent if urgent else self._messages).append(message)

    def read(self) -> bytes | None:
        """Return the next message, b"" when there is none, None without a page."""
        if self._urgent:
            return self._urgent.popleft()
        if not self.connected:
            self._messages.clear()
            return None
        try:
            return self._messages.popleft()
        except IndexError:
            return b""

    def close(self) -> None:
        """Forget the page."""
        self.connected = False


class PanelParser:
    """``{"held": true, "deflection": [6 numbers], "opening": 0.5, "pressed": ["start"]}``; ``held`` must be there.

    What is no such message lets go of everything: nobody knows what the page wants.
    """

    def __init__(self) -> None:
        """Begin with nothing held."""
        self._pressed: list[Button] = []
        self.reset()

    def reset(self) -> None:
        """Let go of everything."""
        self._sample, self._heard_s = Sample(), float("-inf")

    def feed(self, data: bytes, now_s: float) -> None:
        """Take one message."""
        try:
            self._sample, pressed = _read(json.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError):
            self.reset()
            return
        self._pressed += pressed
        self._heard_s = now_s

    def sample(self, now_s: float) -> Sample:
        """Return what is held now."""
        if now_s - self._heard_s > SILENCE_S:
            self.reset()
        pressed, self._pressed = tuple(self._pressed), []
        said = self._sample
        return Sample(held=said.held, deflection=said.deflection, opening=said.opening, pressed=pressed)


def _read(message: Any) -> tuple[Sample, list[Button]]:
    deflection = np.asarray(message.get("deflection", np.zeros(6)), dtype=float)
    opening = message.get("opening")
    if deflection.shape != (6,) or not np.isfinite(deflection).all():
        raise ValueError("a deflection has six numbers")
    if opening is not None:
        opening = float(np.clip(float(opening), 0.0, 1.0))
    sample = Sample(held=message["held"] is True, deflection=deflection.clip(-1.0, 1.0), opening=opening)
    return sample, [Button(name) for name in message.get("pressed", ())]
