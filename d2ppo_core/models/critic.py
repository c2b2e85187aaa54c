"""State value networks."""

import torch
from torch import Tensor, nn

from d2ppo_core.models.vit import ImageEncoder, StateEncoder


class Critic(nn.Module):
    """V(observation): an encoder of its own, then an MLP with Mish."""

    half_encoder: bool = False
    """Encode observations in bfloat16."""

    def __init__(self, encoder: ImageEncoder | StateEncoder, *, hidden_dim: int = 256, layers: int = 3) -> None:
        """Put `layers` hidden layers of `hidden_dim` and one output on an encoder of (B, out_dim)."""
        super().__init__()
        self.encoder = encoder
        sizes = [encoder.out_dim, *[hidden_dim] * layers]
        hidden = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.Mish())]
        self.head = nn.Sequential(*hidden, nn.Linear(hidden_dim, 1))

    def forward(self, state: Tensor, images: Tensor | None) -> Tensor:
        """(N, Ds) and images or None -> (N,)."""
        with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=self.half_encoder):
            features = self.encoder(state, images).float()
        value: Tensor = self.head(features).squeeze(-1)
        return value
