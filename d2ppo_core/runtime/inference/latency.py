"""How long the way from a picture to a chunk takes where that is declared instead of measured."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2ppo_core.errors import ConfigError

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of one frame, after its capture."""

    received_ns: int
    """When the policy has the picture, and begins."""
    published_ns: int
    """When its chunk is sent."""


class Latencies:
    """One latency per frame: always the same, or drawn by seed from those that an evaluation recorded."""

    def __init__(self, choices: list[Latency], seed: int) -> None:
        """Draw from these, with a seed of its own kind."""
        self._choices = choices
        self.restart(seed)

    @property
    def least_ns(self) -> int:
        """The soonest that a chunk can be sent after a capture."""
        return min(latency.published_ns for latency in self._choices)

    def restart(self, seed: int) -> None:
        """Begin anew."""
        self._rng = np.random.default_rng((seed, len(self._choices)))

    def draw(self) -> Latency:
        """Return that of the next frame."""
        return self._choices[int(self._rng.integers(len(self._choices)))]


def latencies(image_ms: float, inference_ms: float, ledger: str, seed: int) -> Latencies:
    """Return what a policy node was told.

    Args:
        image_ms: From capture to the policy.
        inference_ms: From there to the chunk.
        ledger: An ``evaluation.json`` whose latencies are drawn instead; empty: none.
        seed: Of the draws.

    Raises:
        ConfigError: the ledger is none, or holds no latency.
    """
    if ledger:
        return Latencies(_recorded(Path(ledger)), seed)
    return Latencies([_latency(image_ms, image_ms + inference_ms)], seed)


def _recorded(path: Path) -> list[Latency]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        timings = [timing for episode in content["episodes"] for timing in episode["timings"]]
        found = [_latency(float(timing["received_ms"]), float(timing["published_ms"])) for timing in timings]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"latency_ledger {path} is no evaluation.json of evaluate --in stack: {error}") from error
    if not found:
        raise ConfigError(f"latency_ledger {path} holds no chunk's times")
    return found


def _latency(received_ms: float, published_ms: float) -> Latency:
    return Latency(received_ns=round(received_ms * _NS_PER_MS), published_ns=round(published_ms * _NS_PER_MS))
