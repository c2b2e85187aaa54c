"""Hot swap: a new policy runs in the shadow of the old one, takes over at a seam, and gives way again if it fails."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum

import numpy as np

from d2ppo_core.errors import ActionError, BundleError, ConfigError
from d2ppo_core.geometry import step_between
from d2ppo_core.manifest import Manifest
from d2ppo_core.runtime.inference.osc import Targets
from d2ppo_core.runtime.inference.policy import Policy

MAX_LATE = 3
"""So many late answers in a row are no accident."""


class Phase(Enum):
    """Where a swap is."""

    IDLE = "no swap"
    LOADING = "loading"
    SHADOW = "in the shadow"
    SEAM = "waiting for a seam"
    WATCHED = "taken over, watched"


@dataclass(frozen=True, kw_only=True)
class SwapConfig:
    """How a policy takes over.

    Attributes:
        shadow_s: How long the new one only answers beside the old one.
        max_jump_m: Largest distance between both policies' targets, over what is executed of a chunk, at which the new
            one takes over.
        max_jump_rad: The same for the rotation.
        patience_s: How long after the shadow such a seam is waited for, and how long a first chunk.
        watch_s: How long after the seam the old one takes over again by itself if the new one fails.
    """

    shadow_s: float = 1.0
    max_jump_m: float = 0.02
    max_jump_rad: float = 0.2
    patience_s: float = 10.0
    watch_s: float = 5.0

    def __post_init__(self) -> None:
        """Raise ConfigError for times below 0 or bounds that nothing could keep."""
        if min(self.shadow_s, self.patience_s, self.watch_s) < 0.0 or min(self.max_jump_m, self.max_jump_rad) <= 0.0:
            raise ConfigError(f"times of a swap must be >= 0 and its bounds positive, got {self}")


@dataclass(frozen=True)
class Distance:
    """Between two policies' targets of one observation: the first after the seam, and the worst of the executed."""

    jump_m: float
    jump_rad: float
    worst_m: float
    worst_rad: float

    @classmethod
    def between(cls, one: Sequence[Targets], other: Sequence[Targets], ticks: int) -> "Distance":
        """Compare `ticks` targets of chunks, arm by arm; of several arms the one that is further off counts."""
        executed = slice(1, 1 + ticks)
        pairs = [zip(a.states[executed], b.states[executed], strict=False) for a, b in zip(one, other, strict=True)]
        steps = np.array([[step_between(a.pose, b.pose) for a, b in pair] for pair in pairs])
        apart = np.linalg.norm(steps.reshape(*steps.shape[:2], 2, 3), axis=-1)  # (arms, ticks, m and rad)
        return cls(*map(float, apart[:, 0].max(axis=0)), *map(float, apart.max(axis=(0, 1))))

    def __str__(self) -> str:
        """Return millimetres and degrees."""
        first, worst = in_words(self.jump_m, self.jump_rad), in_words(self.worst_m, self.worst_rad)
        return f"{first} at the first target, {worst} at most"


def in_words(apart_m: float, apart_rad: float) -> str:
    """Return a distance in millimetres and degrees."""
    return f"{1e3 * apart_m:.1f} mm, {np.degrees(apart_rad):.1f}°"


def refuse_other_contract(running: Manifest, new: Manifest) -> None:
    """Raise BundleError, both sides named, for a policy that does not see and move what the running one does."""
    sides = (
        ("cameras", running.cameras, new.cameras),
        ("observations", running.observations, new.observations),
        ("objects", running.object_recipe, new.object_recipe),
        ("actions", running.action, new.action),
        ("T_world_base", running.T_world_base, new.T_world_base),
        ("T_ee_site", running.T_ee_site, new.T_ee_site),
    )
    for name, has, wants in sides:
        if has != wants:
            raise BundleError(
                f"bundle {new.name} has other {name} than {running.name}, which runs: {_first_unlike(has, wants)}; "
                "stop the policy and load it"
            )


class HotSwap:
    """States of one swap at a time. It knows no clock and no thread: times are handed in, in stamps of observations."""

    def __init__(self) -> None:
        """Begin without a swap, and with nothing to go back to."""
        self.phase = Phase.IDLE
        self.candidate: Policy | None = None
        """Runs in the shadow."""
        self.previous: Policy | None = None
        """Ran before the last seam; kept warm."""
        self.compared = 0
        """Chunks of the candidate that were compared with the running policy's."""
        self.farthest_m = self.farthest_rad = 0.0
        """Largest distance so far."""
        self._config = SwapConfig()
        self._since_ns = self._late = 0

    @property
    def busy(self) -> bool:
        """Whether a swap was begun that has not come to its seam."""
        return self.phase in (Phase.LOADING, Phase.SHADOW, Phase.SEAM)

    def begin(self, config: SwapConfig) -> None:
        """A bundle is being loaded; BundleError while another one is on its way."""
        if self.busy:
            raise BundleError(f"another bundle is {self.phase.value}; wait for it")
        self._config, self.phase, self.candidate = config, Phase.LOADING, None
        self.compared, self.farthest_m, self.farthest_rad, self._late = 0, 0.0, 0.0, 0

    def loaded(self, policy: Policy, now_ns: int) -> None:
        """It is verified and warm."""
        self.candidate, self.phase, self._since_ns = policy, Phase.SHADOW, now_ns

    def drop(self) -> None:
        """Nothing comes of it."""
        self.candidate, self.phase = None, Phase.IDLE

    def compare(self, distance: Distance, now_ns: int) -> bool:
        """Take note of how far apart both policies' chunks are; True where the new one takes over with this chunk.

        Raises:
            BundleError: no chunk was near enough within the patience.
        """
        self.compared += 1
        self.farthest_m = max(self.farthest_m, distance.worst_m)
        self.farthest_rad = max(self.farthest_rad, distance.worst_rad)
        age_s, config = 1e-9 * (now_ns - self._since_ns), self._config
        if age_s < config.shadow_s:
            return False
        self.phase = Phase.SEAM
        if distance.worst_m <= config.max_jump_m and distance.worst_rad <= config.max_jump_rad:
            return True
        if age_s > config.shadow_s + config.patience_s:
            self.drop()
            bound = f"{1e3 * config.max_jump_m:g} mm, {np.degrees(config.max_jump_rad):.1f}°"
            raise BundleError(f"no seam within {config.patience_s:g} s: {distance}; allowed are {bound}")
        return False

    def pace(self, inference_s: float, period_s: float) -> None:
        """Take note of how long an answer took; ActionError when too many in a row took longer than the period."""
        self._late = self._late + 1 if inference_s > period_s else 0
        if self._late >= MAX_LATE:
            raise ActionError(f"{self._late} chunks in a row took longer than the period of {1e3 * period_s:.0f} ms")

    def check_silence(self, now_ns: int) -> None:
        """Raise BundleError where no chunk comes to compare with: the running policy starves."""
        wait_s = self._config.shadow_s + self._config.patience_s
        if self.candidate is not None and 1e-9 * (now_ns - self._since_ns) > wait_s + 1.0:
            self.drop()
            raise BundleError(f"the running policy made no chunk for {wait_s:g} s that a seam could be at")

    def commit(self, running: Policy, now_ns: int) -> Policy:
        """Return the policy that runs from this chunk on; the one that ran is kept."""
        assert self.candidate is not None
        new, self.candidate, self.previous = self.candidate, None, running
        self.phase, self._since_ns, self._late = Phase.WATCHED, now_ns, 0
        return new

    def roll_back(self) -> Policy:
        """Return the policy that ran before the seam, for good; BundleError where there is none."""
        if self.previous is None:
            raise BundleError("there is no policy to roll back to")
        old, self.previous = self.previous, None
        self.drop()
        return old

    def failed(self, now_ns: int) -> bool:
        """Whether a failure of the running policy is one of its first seconds, and ends in a roll-back."""
        young = 1e-9 * (now_ns - self._since_ns) <= self._config.watch_s
        return self.phase is Phase.WATCHED and young and self.previous is not None


def _first_unlike(has: object, wants: object) -> str:
    """Say what is wanted, not had: of lists the first entry that differs, of records their first field that does."""
    if isinstance(has, tuple) and isinstance(wants, tuple) and len(has) == len(wants):
        return next(_first_unlike(a, b) for a, b in zip(has, wants, strict=True) if a != b)
    if is_dataclass(has) and type(has) is type(wants):
        name = next(f.name for f in fields(has) if getattr(has, f.name) != getattr(wants, f.name))
        return f"{name} {_first_unlike(getattr(has, name), getattr(wants, name))}"
    return f"{_short(wants)}, not {_short(has)}"


def _short(value: object) -> str:
    keys = [getattr(one, "key", one) for one in value] if isinstance(value, tuple) else value
    return ", ".join(map(str, keys))[:150] or "none" if isinstance(keys, list) else str(keys)[:150]
