"""A policy as a function of observations and noise, whatever it was loaded from."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from d2ppo_core.bundle import Bundle
from d2ppo_core.data.windows import state_vector
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.evaluation.explore import Exploration, explore
from d2ppo_core.finetune.observe import Observer
from d2ppo_core.runs import Run

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
    """K."""


class Sampler(Protocol):
    """A policy as a function of observations and noise."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of one chunk: (draws, Tp, Da)."""
        ...

    def __call__(self, obs: Observation, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """Observations (N, ...) by name and noise (N, draws, Tp, Da) to actions (N, Tp, Da) within [-1, 1]."""
        ...


class RunSampler:
    """A run's policy in torch."""

    def __init__(self, run: Run, variant: Variant) -> None:
        """Load the weights; raises as `Run.policy`."""
        data = run.config.data
        self._policy = run.policy(variant.weights, num_denoising_steps=variant.num_denoising_steps)
        self._observer = Observer(
            normalizer=run.origin.normalizer, low_dim_keys=data.low_dim_keys, image_keys=data.image_keys
        )
        self._exploration = None
        if variant.sampling == STOCHASTIC:
            self._exploration = Exploration.of_chain(run.finetune.config.chain) if run.finetune else Exploration()
        draws = 1 if self._exploration is None else variant.num_denoising_steps + 1
        self.noise_shape: tuple[int, ...] = (draws, self._policy.pred_horizon, self._policy.action_dim)

    def __call__(self, obs: Observation, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Sampler`."""
        state, images = self._observer.inputs(obs).tensors()
        drawn = torch.from_numpy(noise)
        if self._exploration is None:
            return self._observer.actions(self._policy.sample(state, images, drawn[:, 0]))
        return self._observer.actions(explore(self._policy, state, images, drawn, self._exploration))


class BundleSampler:
    """A bundle's graph in ONNX Runtime, one observation at a time as on a robot."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the graph. Raises BundleError when it does not reproduce its golden example."""
        from d2ppo_core.runtime.policy import Policy  # needs ONNX Runtime

        manifest = bundle.manifest
        self._policy = Policy(bundle)
        self._low_dim_keys = tuple(spec.key for spec in manifest.state_observations)
        self._image_keys = tuple(spec.key for spec in manifest.image_observations)
        self.noise_shape: tuple[int, ...] = manifest.input_shapes["noise"]

    def __call__(self, obs: Observation, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Sampler`."""
        inputs = {"state": state_vector(obs, self._low_dim_keys), "noise": noise[:, 0]}
        if self._image_keys:
            inputs["images"] = np.stack([obs[key] for key in self._image_keys], axis=1)
        chunks = [
            self._policy.infer({name: rows[i : i + 1] for name, rows in inputs.items()}) for i in range(len(noise))
        ]
        return np.stack(chunks).clip(-1.0, 1.0)
