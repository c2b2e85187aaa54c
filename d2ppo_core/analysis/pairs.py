"""Do observations that look alike but need different actions keep apart in the features?

Pairs of windows of different episodes are taken whose observations are closest, and of them those whose action
chunks differ most; the ones whose chunks differ least are the comparison. Their mean feature distance, divided by the
mean over all pairs of windows of different episodes, does not depend on the scale of the features: 0 means that such
pairs have collapsed onto one feature, 1 that they lie as far apart as any two windows.

Intervals come from drawing episodes with replacement; a pair counts as often as both its episodes were drawn,
multiplied (pigeonhole bootstrap, Owen 2007): pairs that share an episode are not independent of each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from d2ppo_core.analysis.features import Features
from d2ppo_core.analysis.samples import Sample

GROUPS = ("different", "alike")
"""Close pairs whose actions differ most, and those whose actions differ least."""
CONTRAST = "contrast"
"""Ratio of both groups: how much farther apart look-alikes are when they need different actions."""
_REPLICATES = 2000
MIN_EPISODES = 5

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN limits where there are too few episodes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ClosePairs:
    """Pairs of windows (P, 2) of different episodes with close observations."""

    different: Int
    alike: Int

    def of(self, group: str) -> Int:
        """The pairs of one of the GROUPS."""
        return self.different if group == "different" else self.alike


def find_pairs(sample: Sample, *, closest: float, share: float = 0.1) -> ClosePairs | None:
    """Choose the pairs; None when all windows come from one episode.

    Args:
        sample: Where to look.
        closest: Share of all pairs of windows of different episodes that count as close.
        share: Share of the close pairs that makes up each group.
    """
    first, second = np.nonzero(np.triu(sample.episode[:, None] != sample.episode[None, :]))
    if not len(first):
        return None
    observation, chunks = sample.observation(), sample.chunks.reshape(len(sample), -1)
    distances = cdist(observation, observation)[first, second]
    count = max(2, round(closest * len(first)))
    near = np.argpartition(distances, min(count, len(distances)) - 1)[:count]
    difference = np.linalg.norm(chunks[first[near]] - chunks[second[near]], axis=1)
    near = near[np.argsort(difference, kind="stable")]
    size = max(1, round(share * len(near)))
    pairs = np.stack([first[near], second[near]], axis=1).astype(np.int64)
    return ClosePairs(different=pairs[-size:], alike=pairs[:size])


class Resampling:
    """Ratios of mean distances, and what they would be with other episodes."""

    def __init__(self, episode: Int, pairs: ClosePairs, *, seed: int) -> None:
        """Draw the resampled sets of episodes.

        Args:
            episode: (N,) number of the episode that each window is from.
            pairs: of these N windows, the close ones and the others.
            seed: of the draw; the same seed resamples the same episodes.
        """
        self.pairs = pairs
        self._numbers, index = np.unique(episode, return_inverse=True)
        count = len(self._numbers)
        self._member = np.eye(count)[index]
        self._other = self._member @ self._member.T == 0
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_REPLICATES)
        self._weights = np.vstack([np.ones(count), drawn])

    def ratios(self, distances: Float) -> dict[str, Float]:
        """Distances (N, N) -> by group the ratio with the episodes as they are, then with each draw of them."""
        every = self._mean(distances, self._other.astype(np.float64))
        found = {}
        for group in GROUPS:
            chosen = np.zeros_like(distances)
            rows, columns = self.pairs.of(group).T
            chosen[rows, columns] = 1.0
            found[group] = _ratio(self._mean(distances, chosen), every)
        return found

    def estimate(self, values: Float) -> Estimate:
        """The first of the values with the interval of the rest."""
        drawn = values[1:][np.isfinite(values[1:])]
        if len(self._numbers) < MIN_EPISODES or not len(drawn):
            return Estimate(float(values[0]), float("nan"), float("nan"))
        low, high = np.percentile(drawn, (2.5, 97.5))
        return Estimate(float(values[0]), float(low), float(high))

    def _mean(self, distances: Float, chosen: Float) -> Float:
        """Weighted mean of the chosen distances for each row of weights; NaN where no pair is left."""
        total, count = (
            ((self._weights @ (self._member.T @ values @ self._member)) * self._weights).sum(1)
            for values in (distances * chosen, chosen)
        )
        return _ratio(total, count)


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """Distance of close pairs as a share of the mean distance, by group or CONTRAST, then by weights and tap."""

    count: int
    """Pairs per group."""
    observation: Mapping[str, Estimate]
    actions: Mapping[str, Estimate]
    features: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    change: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    """After training divided by before, from the same draws of episodes."""


def measure_pairs(sample: Sample, features: Mapping[str, Features], *, closest: float, seed: int) -> PairReport | None:
    """Compare the features of a sample by weights, `initial` among them; None when all is one episode.

    `closest` is the share of all pairs that counts as close.
    """
    pairs = find_pairs(sample, closest=closest)
    if pairs is None:
        return None
    resampling = Resampling(sample.episode, pairs, seed=seed)
    ratios = {
        weights: {tap: _with_contrast(resampling.ratios(_mean_distances(found, tap))) for tap in found.training}
        for weights, found in features.items()
    }

    def estimates(group: str, weights: str, *, change: bool) -> dict[str, Estimate]:
        before = ratios["initial"]
        return {
            tap: resampling.estimate(_ratio(found[group], before[tap][group]) if change else found[group])
            for tap, found in ratios[weights].items()
        }

    trained = [weights for weights in features if weights != "initial"]
    observation, chunks = sample.observation(), sample.chunks.reshape(len(sample), -1)
    seen, acted = (resampling.ratios(cdist(values, values)) for values in (observation, chunks))
    every = (*GROUPS, CONTRAST)
    return PairReport(
        count=len(pairs.different),
        observation={group: resampling.estimate(seen[group]) for group in GROUPS},
        actions={group: resampling.estimate(acted[group]) for group in GROUPS},
        features={g: {weights: estimates(g, weights, change=False) for weights in features} for g in every},
        change={g: {weights: estimates(g, weights, change=True) for weights in trained} for g in every},
    )


def _ratio(above: Float, below: Float) -> Float:
    """Element by element; NaN where the divisor is 0."""
    return np.asarray(np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0))


def _with_contrast(ratios: dict[str, Float]) -> dict[str, Float]:
    return {**ratios, CONTRAST: _ratio(ratios["different"], ratios["alike"])}


def _mean_distances(features: Features, tap: str) -> Float:
    """Pairwise distances (N, N) of the features at a tap, mean over the draws of the common noise."""
    draws = features.observation[:1] if tap == "encoder" else features.observation
    return np.asarray(np.mean([_distances(draw[tap].astype(np.float64)) for draw in draws], axis=0))


def _distances(z: Float) -> Float:
    """Pairwise distances by the Gram matrix, which takes a tenth of cdist's time at hundreds of dimensions."""
    z = z - z.mean(0)
    gram = z @ z.T
    norms = gram.diagonal()
    squares = np.clip(norms[:, None] + norms[None, :] - 2 * gram, 0, None)
    np.fill_diagonal(squares, 0.0)
    return np.asarray(np.sqrt(squares))
