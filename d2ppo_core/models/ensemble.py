"""Values of chunks: several critics that share an encoder and nothing else."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2ppo_core.models.vit import ImageEncoder, StateEncoder


class ChunkCritics(nn.Module):
    """Q(observation, chunk) in [0, 1], by E members: a success of 1 at the end of an episode, discounted.

    Members are MLPs with Mish and normalised hidden activations, computed side by side; they differ by their first
    weights. What they give are logits.
    """

    half_encoder: bool = False
    """Encode observations in bfloat16."""

    def __init__(
        self, encoder: ImageEncoder | StateEncoder, *, chunk_dim: int, members: int, hidden_dim: int, layers: int
    ) -> None:
        """Draw members from torch's global generator.

        Args:
            encoder: Of observations; becomes part of this.
            chunk_dim: Numbers of a chunk that count: the executed actions.
            members: E.
            hidden_dim: Width of each.
            layers: Hidden ones.
        """
        super().__init__()
        self.encoder, self.chunk_dim = encoder, chunk_dim
        sizes = [encoder.out_dim + chunk_dim, *[hidden_dim] * layers, 1]
        spans = list(zip(sizes, sizes[1:], strict=False))
        self.weights = nn.ParameterList(_uniform(members, a, b, bound=1 / math.sqrt(a)) for a, b in spans)
        self.biases = nn.ParameterList(_uniform(members, 1, b, bound=1 / math.sqrt(a)) for a, b in spans)
        with torch.no_grad():  # failure is what is expected before anything is known: it need not be unlearned
            self.biases[-1].fill_(-3.0)

    def features(self, state: Tensor, images: Tensor | None) -> Tensor:
        """(N, Ds) and images or None -> (N, C): what all chunks of an observation share."""
        with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=self.half_encoder):
            found: Tensor = self.encoder(state, images).float()
        return found

    def forward(self, features: Tensor, chunks: Tensor) -> Tensor:
        """(N, C) and normalised chunks (N, >= chunk_dim) -> logits (E, N)."""
        x = torch.cat([features, chunks[:, : self.chunk_dim]], dim=-1).expand(len(self.weights[0]), -1, -1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.baddbmm(bias, x, weight)
            x = F.mish(F.layer_norm(x, x.shape[-1:]))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1]).squeeze(-1)


def _uniform(*shape: int, bound: float) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
