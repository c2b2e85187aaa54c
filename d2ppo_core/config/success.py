"""How a fine-tuning run measures its success, and in which episodes."""

from dataclasses import dataclass
from itertools import combinations

from d2ppo_core.config.checks import require

RESULT_SEEDS = range(1000, 1200)
"""Of the episodes that published results are measured in; nothing is selected in them."""


@dataclass(frozen=True, kw_only=True)
class SuccessConfig:
    """Evaluation with fixed seeds and the deterministic sampler that is exported.

    On its way a run selects its best weights in `episodes`; the best of many noisy figures is too good, so that at its
    end those weights are measured once more in others.
    """

    every_iterations: int = 5
    episodes: int = 100
    first_seed: int = 1_000_000
    confirm_episodes: int = 200
    """At the end of the run, for the selected weights; 0 = none."""
    confirm_first_seed: int = 2_000_000
    stop_at: float = 0.0
    """End the run when the averaged policy solves this share of the episodes twice in a row; 0 = never."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a number out of bounds, or an episode that would count twice."""
        for name in ("every_iterations", "episodes"):
            require(getattr(self, name) >= 1, f"success.{name}: wanted >= 1, got {getattr(self, name)}")
        for name in ("first_seed", "confirm_first_seed", "confirm_episodes"):
            require(getattr(self, name) >= 0, f"success.{name}: wanted >= 0, got {getattr(self, name)}")
        self._check_apart()
        require(0 <= self.stop_at <= 1, f"success.stop_at: wanted in [0, 1], got {self.stop_at}")

    @property
    def selection_seeds(self) -> range:
        """Of the worlds in which the best weights are selected."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @property
    def confirmation_seeds(self) -> range:
        """Of the worlds in which they are measured at the end."""
        return range(self.confirm_first_seed, self.confirm_first_seed + self.confirm_episodes)

    def _check_apart(self) -> None:
        ranges = {
            f"success.first_seed={self.first_seed}": self.selection_seeds,
            f"success.confirm_first_seed={self.confirm_first_seed}": self.confirmation_seeds,
            "those of published results": RESULT_SEEDS,
        }
        for (one, first), (other, second) in combinations(ranges.items(), 2):
            shared = range(max(first.start, second.start), min(first.stop, second.stop))
            require(not shared, f"{one}: wanted seeds apart from {other}, both hold {shared.start}")
