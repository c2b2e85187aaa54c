"""A policy as a function of observations and noise, whatever it was loaded from; here without torch: a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.data.windows import state_vector
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.errors import BundleError
from d2ppo_core.representations import bounded

if TYPE_CHECKING:
    from d2ppo_core.runtime.inference.policy import Policy

DETERMINISTIC, STOCHASTIC = "deterministic", "stochastic"
SAMPLINGS = (DETERMINISTIC, STOCHASTIC)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of a folder's policies."""

    weights: str
    """`ema`, `raw`, `best`; `bundle` for the only ones of a bundle."""
    sampling: str
    """`deterministic`: a function of the first noise, as exported; `stochastic`: noise in every denoising step."""
    num_denoising_steps: int
    """K; 0 for a Gaussian policy."""


class Sampler(Protocol):
    """A policy as a function of observations and noise."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of one chunk: (draws, Tp, Da)."""
        ...

    def __call__(self, obs: Observation, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Observations (N, ...) by name and noise (N, draws, Tp, Da) to actions (N, Tp, Da), deltas within [-1, 1]."""
        ...


class BundleSampler:
    """A bundle's graph, asked for one observation at a time as on a robot."""

    def __init__(self, policy: Policy) -> None:
        """Take over a loaded bundle."""
        manifest = policy.manifest
        self._policy = policy
        self._low_dim_keys = tuple(spec.key for spec in manifest.state_observations)
        self._image_keys = tuple(spec.key for spec in manifest.image_observations)
        self.noise_shape: tuple[int, ...] = manifest.input_shapes["noise"]

    def __call__(self, obs: Observation, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Sampler`. Raises BundleError when the bundle reads what `obs` lacks."""
        missing = [key for key in (*self._low_dim_keys, *self._image_keys) if key not in obs]
        if missing:
            raise BundleError(f"bundle {self._policy.manifest.name} reads {', '.join(missing)}; got {', '.join(obs)}")
        inputs = {"state": state_vector(obs, self._low_dim_keys), "noise": noise[:, 0]}
        if self._image_keys:
            inputs["images"] = np.stack([obs[key] for key in self._image_keys], axis=1)
        chunks = [
            self._policy.infer({name: rows[i : i + 1] for name, rows in inputs.items()}) for i in range(len(noise))
        ]
        return bounded(np.stack(chunks), self._policy.manifest.action.representation)
