"""What an evaluation in a running stack measured; plain data that goes to JSON and into the report."""

import hashlib
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from d2ppo_core.analysis.statistics import Spread, spread, wilson_interval


@dataclass(frozen=True, kw_only=True)
class ChunkTiming:
    """Times of one chunk in ms: from capture on the stack's clock, and the inference alone on the wall clock."""

    received_ms: float
    published_ms: float
    first_command_ms: float | None
    """Of several arms the last one's; None where not all had one."""
    inference_wall_ms: float
    apart_ms: float | None = None
    """Between the first commands of several arms."""


@dataclass(frozen=True, kw_only=True)
class Hand:
    """One hand at one time: measured and commanded position in m, gripper opening."""

    measured_m: tuple[float, float, float]
    reference_m: tuple[float, float, float]
    gripper_width_m: float


@dataclass(frozen=True, kw_only=True)
class Sample(Hand):
    """One sample of an episode: the hand, time in s, world state."""

    time_s: float
    qpos: tuple[float, ...]
    partners: tuple[Hand, ...] = ()
    """The hands of the other arms."""

    @property
    def hands(self) -> tuple[Hand, ...]:
        """Of all arms."""
        return (self, *self.partners)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode: how it ended and what was measured in it."""

    index: int
    seed: int
    success: bool
    outcome: str
    duration_s: float
    wall_s: float
    ticks: int
    missed_ticks: int
    chunks_refused: int
    safety_interventions: int
    real_time_factor: float
    digest: str = ""
    """In deterministic stepping, of all positions and chunks from the start to the end: the same for the same seed."""
    chunks_alone: int = 0
    """Plans for several arms that some of them executed and others did not."""
    arms: tuple[str, ...] = ()
    """Names of several arms."""
    waits_given_up: int = 0
    """In deterministic stepping, how often the world waited for a node in vain: the digest means nothing then."""
    timings: tuple[ChunkTiming, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All episodes of one evaluation."""

    task: str
    stack: str
    bundle: str
    bundle_hash: str
    seed: int
    episodes: tuple[Episode, ...]
    stepping: str = "real_time"
    host: dict[str, Any] = field(default_factory=dict)

    @property
    def successes(self) -> int:
        """Number of episodes that ended in success."""
        return sum(episode.success for episode in self.episodes)

    @property
    def success_rate(self) -> float:
        """Share of successes."""
        return self.successes / max(1, len(self.episodes))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(self.successes, len(self.episodes))

    @property
    def lost(self) -> int:
        """Episodes that neither succeeded nor ran out of time: a fault, a crash or a hang."""
        return sum(not episode.success and episode.outcome != "time out" for episode in self.episodes)

    @property
    def is_of_several_arms(self) -> bool:
        """Whether one policy moved several."""
        return any(episode.arms for episode in self.episodes)

    @property
    def chunks_alone(self) -> int:
        """Plans for several arms that some of them executed and others did not."""
        return sum(episode.chunks_alone for episode in self.episodes)

    @property
    def ticks(self) -> int:
        """Reference ticks of all episodes."""
        return sum(episode.ticks for episode in self.episodes)

    @property
    def missed_ticks(self) -> int:
        """Reference ticks that were due and did not run in time."""
        return sum(episode.missed_ticks for episode in self.episodes)

    @property
    def real_time(self) -> tuple[float, float]:
        """Simulated per wall-clock second: median of the episodes that ran, and the slowest one; NaN without any."""
        factors = [episode.real_time_factor for episode in self.episodes if episode.ticks]
        return (spread(factors).p50, min(factors)) if factors else (math.nan, math.nan)

    @property
    def digest(self) -> str:
        """Of all episodes in deterministic stepping; empty when one has none."""
        digests = [episode.digest for episode in self.episodes]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:16] if digests and all(digests) else ""

    def latencies(self) -> dict[str, Spread]:
        """Spread of each step from capture to first command, ms."""
        timings = [timing for episode in self.episodes for timing in episode.timings]
        apart = [t.apart_ms for t in timings if t.apart_ms is not None]
        return {
            "capture → image received": spread([t.received_ms for t in timings]),
            "capture → chunk published": spread([t.published_ms for t in timings]),
            "capture → first command": spread([t.first_command_ms for t in timings if t.first_command_ms is not None]),
            "inference alone (wall)": spread([t.inference_wall_ms for t in timings]),
            **({"first commands apart": spread(apart)} if apart else {}),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything but the samples, ready for ``json.dump``."""
        low, high = self.interval
        data = asdict(self)
        for episode in data["episodes"]:
            del episode["samples"]
        return {
            "success_rate": self.success_rate,
            "wilson_95": [low, high],
            "lost": self.lost,
            "digest": self.digest,
            "latency_ms": {name: asdict(value) for name, value in self.latencies().items()},
            **data,
        }

    def lines(self) -> list[str]:
        """Return the summary as a person reads it."""
        low, high = self.interval
        rows = [
            f"success      {self.successes}/{len(self.episodes)} = {100 * self.success_rate:.1f} %"
            f"  (95 % Wilson interval {100 * low:.1f} … {100 * high:.1f} %)",
            f"lost         {self.lost} episodes to a fault, a crash or a hang",
        ]
        for name, value in self.latencies().items():
            rows.append(f"{name:<28} p50 {value.p50:7.2f} ms   p99 {value.p99:7.2f} ms   n {value.count}")
        if self.is_of_several_arms:
            rows.append(f"chunks executed by one arm only {self.chunks_alone}")
        rows.append(f"control ticks {self.ticks}, missed {self.missed_ticks}")
        usual, slowest = self.real_time
        rows.append(f"real-time factor of the world, median of the episodes {usual:.3f}, slowest {slowest:.3f}")
        if self.stepping != "real_time":
            given_up = sum(episode.waits_given_up for episode in self.episodes)
            rows.append(f"stepping     {self.stepping}, digest {self.digest or 'none'}, waits given up {given_up}")
        return rows
