"""A run's policy as a function of observations and noise."""

import numpy as np
import torch
from numpy.typing import NDArray

from d2ppo_core.envs.protocol import Observation
from d2ppo_core.evaluation.explore import Exploration, explore
from d2ppo_core.evaluation.samplers import STOCHASTIC, Variant
from d2ppo_core.finetune.observe import observer_of
from d2ppo_core.finetune.runs import Run


class RunSampler:
    """A run's policy in torch."""

    def __init__(self, run: Run, variant: Variant) -> None:
        """Load the weights; raises as `Run.policy`."""
        self._policy = run.policy(variant.weights, num_denoising_steps=variant.num_denoising_steps or None)
        self._observer = observer_of(run.origin)
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
