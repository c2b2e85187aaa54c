"""Which features the dispersive term pushes apart and how hard, where the run finds that out by itself."""

import math
from collections.abc import Mapping
from typing import Any

from d2ppo_core.config import LossConfig

OFF = ""
"""Tap while the term takes no part."""


class Dispersal:
    """Tap and λ of a run: as configured, or the tap chosen by `choose` and λ adapted by `observe`."""

    tap: str
    """Where the term acts now; OFF without one, and before the choice of tap `auto`."""
    ranks: dict[str, float]
    """What the choice was made by."""

    def __init__(self, loss: LossConfig) -> None:
        """Begin with the configured tap; with ``auto``, or without the term, none is tapped until `choose`."""
        self._loss = loss
        self.tap = loss.dispersive_tap if loss.active and loss.dispersive_tap != "auto" else OFF
        self.ranks = {}
        self._denoising = self._dispersive = 0.0

    @property
    def balancing(self) -> bool:
        """Whether gradients have to be measured at the tapped features."""
        return self._loss.active and self._loss.weight_mode == "balanced" and self.tap != OFF

    @property
    def weight(self) -> float:
        """λ of the next step: balance · |gradient of the noise loss| / |gradient of the dispersive term|."""
        loss = self._loss
        if self.tap == OFF:
            return 0.0
        if loss.weight_mode == "fixed" or self._denoising == 0:
            return loss.dispersive_weight
        if self._dispersive == 0:
            return loss.weight_limit
        return min(loss.weight_limit, loss.balance * math.sqrt(self._denoising / self._dispersive))

    def observe(self, denoising: float, dispersive: float) -> None:
        """Take in the squared norms of both gradients at the tapped features, of the term before weighting."""
        keep = self._loss.balance_decay if self._denoising > 0 else 0.0
        self._denoising = keep * self._denoising + (1 - keep) * denoising
        self._dispersive = keep * self._dispersive + (1 - keep) * dispersive

    def choice_is_due(self, step: int) -> bool:
        """Whether the tap has to be chosen before training step `step` (from 0)."""
        loss = self._loss
        return loss.active and loss.dispersive_tap == "auto" and self.tap == OFF and step >= loss.auto_tap_steps

    def choose(self, ranks: Mapping[str, float]) -> None:
        """Take the tap that fills the smallest part of its width; of equals the one nearest to the observation."""
        self.ranks = dict(ranks)
        self.tap = min(self.ranks, key=lambda tap: self.ranks[tap])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {
            "tap": self.tap,
            "ranks": dict(self.ranks),
            "denoising": self._denoising,
            "dispersive": self._dispersive,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore; raises KeyError when an entry is missing."""
        self.tap, self.ranks = state["tap"], dict(state["ranks"])
        self._denoising, self._dispersive = state["denoising"], state["dispersive"]
