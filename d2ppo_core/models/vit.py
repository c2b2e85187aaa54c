"""Image encoder: a small vision transformer without class token, compressed by a spatial embedding.

Images enter as raw uint8 (B, H, W, 3) and are scaled to [-0.5, 0.5].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH_PX = 8
_OVERLAP_STRIDE_PX = 4


class PlainStem(nn.Module):
    """8x8 convolution with stride 8, done as one matrix product on the patches."""

    def __init__(self, width: int) -> None:
        """Initialise the matrix from the pixels of a patch to `width` channels."""
        super().__init__()
        self.patch = nn.Linear(PATCH_PX * PATCH_PX * 3, width)

    @staticmethod
    def num_tokens(height_px: int, width_px: int) -> int:
        """Tokens per image."""
        return (height_px // PATCH_PX) * (width_px // PATCH_PX)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) -> tokens (B, N, D)."""
        tokens: Tensor = self.patch(cut_patches(images).to(self.patch.weight.dtype) / 255 - 0.5)
        return tokens


def cut_patches(images: Tensor) -> Tensor:
    """Cut (B, H, W, 3) into flat patches (B, H/8 * W/8, 192), row by row; keeps the dtype."""
    batch, height, width, channels = images.shape
    rows, columns = height // PATCH_PX, width // PATCH_PX
    grid = images.reshape(batch, rows, PATCH_PX, columns, PATCH_PX, channels).transpose(2, 3)
    return grid.reshape(batch, rows * columns, PATCH_PX * PATCH_PX * channels)


class OverlapStem(nn.Module):
    """The published stem: 8x8/4 convolution, ReLU, 3x3/2 convolution."""

    def __init__(self, width: int) -> None:
        """Initialise both convolutions, to `width` channels each."""
        super().__init__()
        self.first = nn.Conv2d(3, width, PATCH_PX, _OVERLAP_STRIDE_PX)
        self.second = nn.Conv2d(width, width, 3, 2)

    @staticmethod
    def num_tokens(height_px: int, width_px: int) -> int:
        """Tokens per image."""

        def along(size: int) -> int:
            return ((size - PATCH_PX) // _OVERLAP_STRIDE_PX + 1 - 3) // 2 + 1

        return along(height_px) * along(width_px)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) -> tokens (B, N, D)."""
        pixels = images.permute(0, 3, 1, 2).to(self.first.weight.dtype) / 255 - 0.5
        grid: Tensor = self.second(F.relu(self.first(pixels)))
        return grid.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, then a GELU MLP four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        """Initialise attention and MLP for tokens of `width`; `heads` divides it."""
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm_attention(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        # Explicit products: the backward pass of torch's fused CPU attention takes four times as long.
        scores = (q * (width // self.heads) ** -0.5) @ k.transpose(-1, -2)
        attended = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.merge(attended)
        out: Tensor = tokens + self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(tokens))))
        return out


class Vit(nn.Module):
    """Stem, learned positions, transformer blocks and a final LayerNorm."""

    def __init__(self, *, image_hw: tuple[int, int], stem: str, width: int, heads: int, depth: int) -> None:
        """Initialise the network.

        Args:
            image_hw: height and width of the images in pixels.
            stem: ``plain``, or the published one.
            width: channels of a token.
            heads: of the attention; divides the width.
            depth: number of blocks.

        Raises:
            ValueError: a side of the images is no multiple of a patch.
        """
        super().__init__()
        height_px, width_px = image_hw
        if height_px % PATCH_PX or width_px % PATCH_PX:
            raise ValueError(f"wanted image sides divisible by {PATCH_PX}, got {height_px}x{width_px}")
        self.stem: PlainStem | OverlapStem = PlainStem(width) if stem == "plain" else OverlapStem(width)
        self.num_tokens = self.stem.num_tokens(height_px, width_px)
        self.position = nn.Parameter(0.02 * torch.randn(self.num_tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) -> (B, N, D)."""
        tokens = self.stem(images) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out


class SpatialEmbedding(nn.Module):
    """Compress the tokens of one camera, together with the proprioception, to `features` numbers.

    Each of the D channels is a map over N places; a shared Linear mixes the places (and the state) into
    `features` responses, and a learned weight per (channel, response) sums the channels up.
    """

    def __init__(self, *, num_tokens: int, width: int, state_dim: int, features: int) -> None:
        """Initialise for `num_tokens` places of `width` channels and `state_dim` numbers of proprioception."""
        super().__init__()
        self.num_tokens = num_tokens
        self.mix = nn.Linear(num_tokens + state_dim, features)
        self.norm = nn.LayerNorm(features)
        self.weight = nn.Parameter(torch.randn(width, features) / width**0.5)

    def forward(self, tokens: Tensor, state: Tensor) -> Tensor:
        """(B, N, D) and (B, Ds) -> (B, features)."""
        places, proprio = self.mix.weight[:, : self.num_tokens], self.mix.weight[:, self.num_tokens :]
        mixed = F.linear(tokens.transpose(1, 2), places) + F.linear(state, proprio, self.mix.bias)[:, None]
        return (self.weight * F.relu(self.norm(mixed))).sum(1)


class ImageEncoder(nn.Module):
    """One ViT shared by all cameras, one spatial embedding per camera, the state appended."""

    def __init__(
        self,
        *,
        image_hw: tuple[int, int],
        num_cameras: int,
        state_dim: int,
        stem: str,
        width: int,
        heads: int,
        depth: int,
        features: int,
    ) -> None:
        """Initialise one network for all cameras, and one embedding for each.

        Args:
            image_hw: height and width of the images in pixels.
            num_cameras: how many there are, in the order of the images.
            state_dim: numbers of the state, appended to the features.
            stem: of the `Vit`.
            width: of the `Vit`.
            heads: of the `Vit`.
            depth: of the `Vit`.
            features: numbers that stand for one camera.
        """
        super().__init__()
        self.vit = Vit(image_hw=image_hw, stem=stem, width=width, heads=heads, depth=depth)
        self.embeddings = nn.ModuleList(
            SpatialEmbedding(num_tokens=self.vit.num_tokens, width=width, state_dim=state_dim, features=features)
            for _ in range(num_cameras)
        )
        self.out_dim = num_cameras * features + state_dim

    def forward(self, state: Tensor, images: Tensor) -> Tensor:
        """State (B, Ds) in [-1, 1] and images uint8 (B, Ncam, H, W, 3) -> features (B, out_dim)."""
        batch, cameras = images.shape[:2]
        tokens = self.vit(images.flatten(0, 1))
        tokens = tokens.reshape(batch, cameras, *tokens.shape[1:])
        seen = [embed(tokens[:, i], state) for i, embed in enumerate(self.embeddings)]
        return torch.cat([*seen, state], dim=-1)


class StateEncoder(nn.Module):
    """The state itself is the observation."""

    def __init__(self, state_dim: int) -> None:
        """Take states of `state_dim` numbers; there is nothing to learn."""
        super().__init__()
        self.out_dim = state_dim

    def forward(self, state: Tensor, images: Tensor | None = None) -> Tensor:
        """Return the state (B, Ds) unchanged."""
        return state
