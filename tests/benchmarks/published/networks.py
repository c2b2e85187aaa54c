"""Networks as published: the condition is a dictionary, and whoever wants an action encodes the pictures again."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class TimeEmbedding(nn.Module):
    """Sinusoids, Linear, Mish, Linear."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.expand = nn.Linear(dim, 2 * dim)
        self.project = nn.Linear(2 * dim, dim)

    def forward(self, t):
        half = self.dim // 2
        rates = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / (half - 1)))
        phase = t[:, None] * rates[None]
        return self.project(F.mish(self.expand(torch.cat([phase.sin(), phase.cos()], dim=-1))))


class ResidualMlp(nn.Module):
    """Input layer, one pre-activation residual block, output layer."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.input = nn.Linear(inputs, hidden)
        self.residual_in = nn.Linear(hidden, hidden)
        self.residual_out = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x):
        early = self.input(x)
        return self.output(early + self.residual_out(F.mish(self.residual_in(F.mish(early)))))


class Attention(nn.Module):
    """Multi-head self-attention by torch's fused kernel."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)

    def forward(self, tokens):
        batch, count, width = tokens.shape
        parts = self.qkv(tokens).view(batch, count, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.merge(attended.transpose(1, 2).reshape(batch, count, width))


class TransformerBlock(nn.Module):
    """Pre-norm: attention, then an MLP with GELU."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens):
        tokens = tokens + self.attention(self.norm_attention(tokens))
        return tokens + self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(tokens))))


class Vit(nn.Module):
    """Pictures (B, 3, 96, 96) in [0, 255] to 121 tokens: 8x8/4 convolution, ReLU, 3x3/2 convolution, one block."""

    num_tokens = 121

    def __init__(self, width=128, heads=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 8, 4), nn.ReLU(), nn.Conv2d(width, width, 3, 2))
        self.position = nn.Parameter(0.02 * torch.randn(1, self.num_tokens, width))
        self.block = TransformerBlock(width, heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, pictures):
        tokens = self.stem(pictures / 255.0 - 0.5).flatten(2).transpose(1, 2)
        return self.norm(self.block(tokens + self.position))


class SpatialEmbedding(nn.Module):
    """Tokens and proprioception to 128 features; the proprioception is repeated for every channel and appended."""

    def __init__(self, tokens, width, state_dim, features):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(tokens + state_dim, features), nn.LayerNorm(features), nn.ReLU())
        self.weight = nn.Parameter(torch.randn(1, width, features) / width**0.5)

    def forward(self, tokens, state):
        channels = tokens.transpose(1, 2)
        channels = torch.cat([channels, state[:, None].expand(-1, channels.shape[1], -1)], dim=-1)
        return (self.weight * self.project(channels)).sum(1)


class RandomShift(nn.Module):
    """Pad by repeating the border, then sample a grid that is shifted by whole pixels."""

    def __init__(self, pad=4):
        super().__init__()
        self.pad = pad

    def forward(self, pictures):
        count, _, size, _ = pictures.shape
        padded = F.pad(pictures, (self.pad,) * 4, "replicate")
        full = size + 2 * self.pad
        line = torch.linspace(-1 + 1 / full, 1 - 1 / full, full)[:size]
        line = line[None].repeat(size, 1)[..., None]
        grid = torch.cat([line, line.transpose(0, 1)], dim=2)[None].repeat(count, 1, 1, 1)
        shift = torch.randint(0, 2 * self.pad + 1, (count, 1, 1, 2)) * (2.0 / full)
        return F.grid_sample(padded, grid + shift, padding_mode="zeros", align_corners=False)


class Encoder(nn.Module):
    """Condition to features: the state, or what a ViT sees with the state appended."""

    def __init__(self, state_dim, *, images):
        super().__init__()
        self.vit = Vit() if images else None
        self.embedding = SpatialEmbedding(Vit.num_tokens, 128, state_dim, 128) if images else None
        self.shift = RandomShift()
        self.augment = False
        self.out_dim = state_dim + (128 if images else 0)

    def forward(self, cond):
        state = cond["state"].flatten(1)
        if self.vit is None:
            return state
        pictures = cond["rgb"].flatten(1, 2).float()
        if self.augment:
            pictures = self.shift(pictures)
        return torch.cat([self.embedding(self.vit(pictures), state), state], dim=-1)


class NoiseNetwork(nn.Module):
    """Predicts the noise in a chunk."""

    def __init__(self, state_dim, *, images, chunk_dim=28):
        super().__init__()
        self.encoder = Encoder(state_dim, images=images)
        time_dim, hidden = (32, 768) if images else (16, 512)
        self.time = TimeEmbedding(time_dim)
        self.mlp = ResidualMlp(chunk_dim + time_dim + self.encoder.out_dim, hidden, chunk_dim)

    def forward(self, x, t, cond):
        flat = x.flatten(1)
        return self.mlp(torch.cat([flat, self.time(t), self.encoder(cond)], dim=-1)).view(x.shape)


class ValueNetwork(nn.Module):
    """V(condition), with an encoder of its own."""

    def __init__(self, state_dim, *, images):
        super().__init__()
        self.encoder = Encoder(state_dim, images=images)
        sizes = [self.encoder.out_dim, 256, 256, 256]
        hidden = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.Mish())]
        self.head = nn.Sequential(*hidden, nn.Linear(256, 1))

    def forward(self, cond):
        return self.head(self.encoder(cond)).squeeze(-1)
