"""What every policy has in common: an observation encoder, a trunk, and chunks as its answer."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from d2ppo_core.models.vit import ImageEncoder, StateEncoder


class ChunkPolicy(nn.Module, ABC):
    """A policy over action chunks; works on normalised states and actions."""

    def __init__(self, *, encoder: ImageEncoder | StateEncoder, pred_horizon: int, action_dim: int) -> None:
        """Take the encoder, and chunks of (pred_horizon, action_dim)."""
        super().__init__()
        self.encoder = encoder
        self.pred_horizon, self.action_dim = pred_horizon, action_dim

    @property
    @abstractmethod
    def trunk(self) -> nn.Module:
        """The network behind the encoder."""

    def encode(self, state: Tensor, images: Tensor | None) -> Tensor:
        """Observation (B, Ds), images (B, Ncam, H, W, 3) or None -> condition (B, C)."""
        out: Tensor = self.encoder(state, images)
        return out

    def encode_in(self, state: Tensor, images: Tensor | None, *, half: bool) -> Tensor:
        """As `encode`, in bfloat16 where `half` says so; the condition is in float32 either way."""
        with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=half):
            return self.encode(state, images).float()

    @abstractmethod
    def sample(self, state: Tensor, images: Tensor | None, noise: Tensor) -> Tensor:
        """Normalised actions (B, Tp, Da) in [-1, 1] from noise (B, Tp, Da); a function of its inputs, as exported."""
