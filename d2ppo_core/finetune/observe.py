"""From an environment's observations to a network's inputs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ppo_core.data.image_fit import ImageFit, fit_of
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.data.windows import state_vector
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.errors import ConfigError
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.representations import OSC_DELTA, bounded


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What encoders read."""

    state: NDArray[np.float32]
    """(N, Ds) normalised."""
    images: NDArray[np.uint8] | None
    """(N, Ncam, H, W, 3)."""

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor | None]:
        """The same on a device."""
        images = None if self.images is None else torch.from_numpy(self.images).to(device)
        return torch.from_numpy(self.state).to(device), images


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Selects, orders and normalises observations, and scales chunks back, exactly as the policy was trained."""

    normalizer: Normalizer
    low_dim_keys: tuple[str, ...]
    image_keys: tuple[str, ...]
    action_representation: str = OSC_DELTA
    fit: ImageFit | None = None
    """Of the cameras' pictures to what the network sees."""

    def check(self, available: tuple[str, ...]) -> None:
        """Raise ConfigError where the policy reads what an environment does not show."""
        missing = [key for key in (*self.low_dim_keys, *self.image_keys) if key not in available]
        if missing:
            raise ConfigError(f"the policy reads {', '.join(missing)}; the environment shows {', '.join(available)}")

    def inputs(self, obs: Observation) -> Inputs:
        """Observations (N, ...) by name to the networks' inputs."""
        images = np.stack([obs[key] for key in self.image_keys], axis=1) if self.image_keys else None
        if images is not None and self.fit is not None:
            images = self.fit.apply(images)
        return Inputs(state=self.normalizer.state.normalize(state_vector(obs, self.low_dim_keys)), images=images)

    def actions(self, chunks: Tensor) -> NDArray[np.float32]:
        """Normalised chunks (N, Tp, Da) to the environment's actions, deltas within [-1, 1]."""
        return bounded(self.normalizer.action.denormalize(chunks.cpu().numpy()), self.action_representation)


def observer_of(origin: Checkpoint) -> Observer:
    """What a pre-trained policy reads, as it was trained to read it."""
    data = origin.config.data
    return Observer(
        normalizer=origin.normalizer,
        low_dim_keys=data.low_dim_keys,
        image_keys=data.image_keys,
        action_representation=data.action_representation,
        fit=fit_of(data, origin.shapes.camera_hw) if data.image_keys else None,
    )
