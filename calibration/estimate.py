"""Statistics of a linearised chain: how noisy pixels and hand are, the best step, its covariance, who contradicts.

Pixels of one view share the error of its hand: a model with one random step of the hand per view. Its variances come
from restricted maximum likelihood, so that fifteen views of 28 corners do not pass for 420 independent measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import chi2, t

from calibration.chain import Linear
from d2ppo_core.geometry import Array

CONTRADICTS = float(chi2.ppf(1.0 - 1e-5, 6))
"""Squared distance (6 numbers, in standard deviations) from which a view is not believed."""
EXPLAINS = 45.0
"""By so much (twice the logarithm of a likelihood) another explanation must be better to be the better one."""
_MAD = 1.4826
_ROUNDS = 25
_HARDLY = 16.0
"""Squared distance from which a view counts less, without being left out."""
_LEAST, _MOST = np.log(1e-7), np.log(0.2)


@dataclass(frozen=True)
class Noise:
    """Standard deviations: of a corner, and of the hand's position and rotation and all that acts like them."""

    px: float
    hand_m: float
    hand_rad: float

    def covariance(self, linear: Linear) -> Array:
        """(N, 6, 6) of the views' pose residuals."""
        hand = np.diag(np.repeat((self.hand_m**2, self.hand_rad**2), 3))
        return np.asarray(hand + self.px**2 * np.linalg.inv(linear.information))


def pixel_sd(linear: Linear) -> float:
    """Return the standard deviation of a corner, from what no pose of the board explains."""
    return float(np.sqrt(linear.within / max(1, linear.freedom)))


@dataclass(frozen=True)
class Fit:
    """A weighted least-squares step.

    Attributes:
        step: (P,).
        covariance: (P, P) of it.
        left: (N, 6) residuals after it.
        squared: (N,) their squared length in standard deviations.
        cost: Twice the negative logarithm of the likelihood, each view's share bounded.
        noise: What was assumed.
    """

    step: Array
    covariance: Array
    left: Array
    squared: Array
    cost: float
    noise: Noise


def solve(linear: Linear, A: Array, noise: Noise, weights: Array | None = None) -> Fit:
    """Return the step that fits the pose residuals best; `A` (N, 6, P) as in `Linear`, weights (N,) of the views."""
    C = noise.covariance(linear)
    W = np.linalg.inv(C)
    weighted = W if weights is None else W * weights[:, None, None]
    AtW = A.transpose(0, 2, 1) @ weighted
    covariance = np.linalg.pinv((AtW @ A).sum(axis=0), rcond=1e-14, hermitian=True)
    step = -covariance @ np.einsum("npi,ni->p", AtW, linear.y)
    left = linear.y + A @ step
    squared = np.einsum("ni,nij,nj->n", left, W, left)
    cost = float(np.minimum(squared, CONTRADICTS).sum() + np.linalg.slogdet(C)[1].sum())
    return Fit(step, covariance, left, squared, cost, noise)


def robust_fit(linear: Linear, A: Array) -> Fit:
    """Return a fit, and the noise that goes with it, to which views count the less the more they contradict others.

    The noise is what expectation and maximisation lead to from a guess by medians, which is too large.
    """
    views, parameters = len(linear.y), A.shape[2]
    lost = 6 * views / max(1, 6 * views - parameters)
    typical = _MAD * np.median(np.abs(linear.y.reshape(-1, 2, 3)), axis=(0, 2)) + 1e-6
    noise, weights = Noise(pixel_sd(linear), float(typical[0]), float(typical[1])), np.ones(views)
    fit = solve(linear, A, noise, weights)
    for _ in range(_ROUNDS):
        noise = _expected_noise(linear, fit, weights, lost)
        fit = solve(linear, A, noise, weights)
        weights = np.minimum(1.0, _HARDLY / np.maximum(fit.squared, 1e-9))
    return fit


def _expected_noise(linear: Linear, fit: Fit, weights: Array, lost: float) -> Noise:
    variances = np.repeat((fit.noise.hand_m**2, fit.noise.hand_rad**2), 3)
    W = np.linalg.inv(fit.noise.covariance(linear))
    means = variances * np.einsum("nij,nj->ni", W, fit.left)
    rest = variances - variances**2 * W[:, range(6), range(6)]
    found = (weights @ (lost * means**2 + rest)).reshape(2, 3).mean(axis=1) / weights.sum()
    return Noise(fit.noise.px, float(np.sqrt(found[0])), float(np.sqrt(found[1])))


def likely_noise(linear: Linear, A: Array, start: Noise) -> Noise:
    """Return the noise of restricted maximum likelihood, from a guess."""
    px, inverse = pixel_sd(linear), np.linalg.inv(linear.information)

    def cost(log_sd: Array) -> float:
        hand_m, hand_rad = np.exp(np.clip(log_sd, _LEAST, _MOST))
        C = np.diag(np.repeat((hand_m**2, hand_rad**2), 3)) + px**2 * inverse
        W = np.linalg.inv(C)
        AtW = A.transpose(0, 2, 1) @ W
        N, g = (AtW @ A).sum(axis=0), np.einsum("npi,ni->p", AtW, linear.y)
        square = np.einsum("ni,nij,nj->", linear.y, W, linear.y) - g @ np.linalg.solve(N, g)
        return float(np.linalg.slogdet(C)[1].sum() + np.linalg.slogdet(N)[1] + square)

    first = np.log((max(start.hand_m, 2e-5), max(start.hand_rad, 5e-5)))
    simplex = np.array((first, first + (1.0, 0.0), first + (0.0, 1.0)))
    options = {"xatol": 0.02, "fatol": 0.01, "maxfev": 120, "initial_simplex": simplex}
    found = minimize(cost, first, method="Nelder-Mead", options=options).x
    hand_m, hand_rad = np.exp(np.clip(found, _LEAST, _MOST))
    return Noise(px, float(hand_m), float(hand_rad))


def held_out(linear: Linear, A: Array, noise: Noise) -> tuple[Array, Array]:
    """Return how far each view is off, at the board, from the fit of all the others: mm (N,) and degrees (N,)."""
    W = np.linalg.inv(noise.covariance(linear))
    AtW = A.transpose(0, 2, 1) @ W
    N, g = AtW @ A, np.einsum("npi,ni->np", AtW, linear.y)
    others = np.linalg.pinv(N.sum(axis=0) - N, rcond=1e-14, hermitian=True)
    steps = -np.einsum("npq,nq->np", others, g.sum(axis=0) - g)
    off = linear.y + np.einsum("nip,np->ni", A, steps)
    at_board = off[:, :3] + np.cross(off[:, 3:], linear.lever_m)
    return 1000.0 * np.linalg.norm(at_board, axis=1), np.degrees(np.linalg.norm(off[:, 3:], axis=1))


def interval_factor(views: int, parameters: int) -> float:
    """Return by how many standard deviations the 95 % interval reaches to each side; views are what is independent."""
    return float(t.ppf(0.975, max(1.0, views - parameters / 6)))
