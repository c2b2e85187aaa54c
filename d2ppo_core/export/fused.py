"""The sampler rewritten for one observation: the same function, a fraction of the arithmetic.

All rewrites are algebraically exact and folded in float64:

- the condition's and the time step's share of the input layer leave the loop (one product for all K steps);
- scheduler arithmetic becomes two constants per step;
- `output(early + residual_out(a))` collapses into one matrix per operand, without the hidden_dim x hidden_dim one;
- Mish needs one exponential: x tanh(log(1 + e^x)) = x - 2x / ((1 + e^x)^2 + 1);
- pixel scaling goes into the first convolution, the attention scale into q, the positions into the stem's bias.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2ppo_core.data.image_fit import SCALE, ImageFit
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.export.fused_sampler import FusedSampler, mish
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.gaussian import GaussianPolicy, MeanNetwork
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.schedule import DdimStep
from d2ppo_core.models.vit import Block, ImageEncoder, PlainStem, SpatialEmbedding, Vit, cut_patches


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


class _Folded(nn.Module):
    """A module whose constants are float32 copies of float64 results."""

    def _fold(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.detach().float().contiguous().clone())


class FusedStem(_Folded):
    """Raw pixels to tokens with positions; the scaling of [0, 255] to [-0.5, 0.5] is part of the weights."""

    weight: Tensor
    bias: Tensor
    second_weight: Tensor
    second_bias: Tensor

    def __init__(self, vit: Vit) -> None:
        """Fold the pixels' scaling and the learned positions into a stem's weights."""
        super().__init__()
        position = _wide(vit.position)
        self.plain = isinstance(vit.stem, PlainStem)
        if isinstance(vit.stem, PlainStem):
            weight = _wide(vit.stem.patch.weight)
            self._fold("weight", weight.T / 255)
            self._fold("bias", _wide(vit.stem.patch.bias) - 0.5 * weight.sum(1) + position)
        else:
            weight = _wide(vit.stem.first.weight)
            self._fold("weight", weight / 255)
            self._fold("bias", _wide(cast(Tensor, vit.stem.first.bias)) - 0.5 * weight.sum((1, 2, 3)))
            self._fold("second_weight", _wide(vit.stem.second.weight))
            self._fold("second_bias", _wide(cast(Tensor, vit.stem.second.bias)) + position)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (Ncam, H, W, 3) -> tokens (Ncam, N, D)."""
        if self.plain:
            return cut_patches(images).float() @ self.weight + self.bias
        first = F.relu(F.conv2d(images.permute(0, 3, 1, 2).float(), self.weight, self.bias, stride=4))
        return F.conv2d(first, self.second_weight, stride=2).flatten(2).transpose(1, 2) + self.second_bias


class FusedBlock(_Folded):
    """Transformer block with the attention scale inside q."""

    qkv_weight: Tensor
    qkv_bias: Tensor

    def __init__(self, block: Block) -> None:
        """Fold the attention's 1/sqrt(width of a head) into the weights of q."""
        super().__init__()
        self.block = block
        width = block.merge.in_features
        scale = torch.ones(3 * width, dtype=torch.float64)
        scale[:width] = (width // block.heads) ** -0.5
        self._fold("qkv_weight", (_wide(block.qkv.weight) * scale[:, None]).T)
        self._fold("qkv_bias", _wide(block.qkv.bias) * scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """(Ncam, N, D) -> (Ncam, N, D)."""
        block = self.block
        batch, count, width = tokens.shape
        qkv = block.norm_attention(tokens) @ self.qkv_weight + self.qkv_bias
        q, k, v = qkv.reshape(batch, count, 3, block.heads, width // block.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attended = ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + block.merge(attended)
        out: Tensor = tokens + block.mlp_out(F.gelu(block.mlp_in(block.norm_mlp(tokens))))
        return out


class FusedEmbedding(_Folded):
    """Spatial embedding of one camera without batch dimension."""

    places: Tensor
    proprio: Tensor
    bias: Tensor

    def __init__(self, embedding: SpatialEmbedding) -> None:
        """Cut the mixing matrix into its part for the N places and that for the state."""
        super().__init__()
        self.norm, self.weight = embedding.norm, embedding.weight
        mix = _wide(embedding.mix.weight)
        self._fold("places", mix[:, : embedding.num_tokens].T)
        self._fold("proprio", mix[:, embedding.num_tokens :].T)
        self._fold("bias", _wide(embedding.mix.bias))

    def forward(self, tokens: Tensor, state: Tensor) -> Tensor:
        """(N, D) and (1, Ds) -> (1, features)."""
        mixed = tokens.t() @ self.places + (state @ self.proprio + self.bias)
        return (self.weight * F.relu(self.norm(mixed))).sum(0, keepdim=True)


class FusedImageEncoder(nn.Module):
    """Image encoder for one observation."""

    def __init__(self, encoder: ImageEncoder) -> None:
        """Fuse the parts of an encoder; its norm is shared, the weights are not copied."""
        super().__init__()
        self.stem = FusedStem(encoder.vit)
        self.blocks = nn.Sequential(*[FusedBlock(cast(Block, block)) for block in encoder.vit.blocks])
        self.norm = encoder.vit.norm
        self.embeddings = nn.ModuleList(FusedEmbedding(cast(SpatialEmbedding, e)) for e in encoder.embeddings)

    def forward(self, state: Tensor, images: Tensor) -> Tensor:
        """Normalised state (1, Ds) and uint8 (1, Ncam, H, W, 3) -> features (1, C)."""
        tokens = self.norm(self.blocks(self.stem(images[0])))
        seen = [embed(tokens[i], state) for i, embed in enumerate(self.embeddings)]
        return torch.cat([*seen, state], dim=-1)


class FusedMean(_Folded):
    """Mean network of a Gaussian policy for one observation, with the rewrites of `FusedSampler`."""

    first: Tensor
    bias: Tensor
    inner_weight: Tensor
    inner_bias: Tensor
    tail: Tensor

    def __init__(self, net: MeanNetwork) -> None:
        """Multiply out in float64 what is linear in a row."""
        super().__init__()
        self.hidden_dim = net.hidden_dim
        weight, bias, out = _wide(net.input.weight), _wide(net.input.bias), _wide(net.output.weight)
        skip = out @ (bias + _wide(net.residual_out.bias)) + _wide(net.output.bias)
        self._fold("first", torch.cat([weight.T, weight.T @ out.T], dim=1))
        self._fold("bias", torch.cat([bias, skip]))
        self._fold("inner_weight", _wide(net.residual_in.weight).T)
        self._fold("inner_bias", _wide(net.residual_in.bias))
        self._fold("tail", (out @ _wide(net.residual_out.weight)).T)

    def forward(self, condition: Tensor, x: Tensor) -> Tensor:
        """(1, C) and noise (1, Tp*Da), which has no part in it -> mean chunk (1, Tp*Da)."""
        mixed = torch.addmm(self.bias, condition, self.first)
        early, skip = mixed[:, : self.hidden_dim], mixed[:, self.hidden_dim :]
        inner = mish(torch.addmm(self.inner_bias, mish(early), self.inner_weight))
        return torch.addmm(skip, inner, self.tail).tanh()


class FusedFit(nn.Module):
    """The cameras' pictures as the network sees them: `ImageFit.apply` to the bit."""

    rows: Tensor
    columns: Tensor

    def __init__(self, fit: ImageFit) -> None:
        """Keep the matrices of the fit, (H', H) and (W', W), as constants of the graph."""
        super().__init__()
        rows, columns = fit.weights
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (1, Ncam, H, W, 3) -> whole numbers in float32 (1, Ncam, H', W', 3)."""
        one, cameras, height, width, colours = images.shape
        tall = _rounded(self.rows @ images.reshape(cameras, height, width * colours).float())
        wide = _rounded(self.columns @ tall.reshape(cameras * len(self.rows), width, colours))
        return wide.reshape(one, cameras, len(self.rows), len(self.columns), colours)


def _rounded(sums: Tensor) -> Tensor:
    return torch.floor(sums / SCALE + 0.5)


class FusedPolicy(_Folded):
    """Raw observation and noise in, raw actions out: what the bundle's graph computes."""

    state_center: Tensor
    state_half: Tensor
    action_center: Tensor
    action_half: Tensor

    def __init__(
        self, policy: ChunkPolicy, normalizer: Normalizer, fit: ImageFit | None = None, *, exact: bool = False
    ) -> None:
        """Fuse a policy and put the ranges of its data around it.

        Args:
            policy: on the CPU; it is read, not changed.
            normalizer: ranges of states and actions that it was trained with.
            fit: how the cameras' pictures come to the size of the network; None: they have it.
            exact: compute the steps at which rounding counts in float64, at some cost.
        """
        super().__init__()
        self.fit = FusedFit(fit) if fit is not None and fit.changes else nn.Identity()
        self.stages = nn.ModuleList(nn.ModuleList(stage) for stage in _fused_stages(policy, exact=exact))
        self.register_buffer("state_center", torch.from_numpy(normalizer.state.center))
        self.register_buffer("state_half", torch.from_numpy(normalizer.state.half))
        self.register_buffer("action_center", torch.from_numpy(normalizer.action.center))
        self.register_buffer("action_half", torch.from_numpy(normalizer.action.half))

    @property
    def faint(self) -> bool:
        """Whether there are steps at which rounding counts."""
        return any(sampler.faint for sampler in self._samplers)

    @property
    def denoising_times(self) -> tuple[int, ...]:
        """Of all steps in the graph, noisiest first; none for a Gaussian policy."""
        return tuple(step.t for sampler in self._samplers for step in sampler.steps)

    @property
    def _samplers(self) -> list[FusedSampler]:
        samplers = [cast(nn.ModuleList, stage)[1] for stage in self.stages]
        return [sampler for sampler in samplers if isinstance(sampler, FusedSampler)]

    def forward(self, state: Tensor, noise: Tensor, images: Tensor | None = None) -> Tensor:
        """State (1, Ds), noise (1, Tp, Da), images uint8 (1, Ncam, H, W, 3) -> actions (1, Tp, Da)."""
        state = (state - self.state_center) / self.state_half
        x = noise.flatten(1)
        images = None if images is None else self.fit(images)
        for stage in self.stages:
            encoder, sampler = cast(nn.ModuleList, stage)
            x = sampler(encoder(state, images), x)
        return x.reshape(noise.shape) * self.action_half + self.action_center


def _fused_stages(policy: ChunkPolicy, *, exact: bool) -> list[tuple[nn.Module, nn.Module]]:
    """Encoders, each with what makes a chunk of its features and of the chunk before."""
    if isinstance(policy, GaussianPolicy):
        return [(_fused_encoder(policy), FusedMean(policy.mean))]
    if not isinstance(policy, DiffusionPolicy):
        raise ValueError(f"wanted a diffusion or a Gaussian policy, got {type(policy).__name__}")
    if any(step.sigma for step in policy.steps):
        raise ValueError("only samplers without added noise (eta = 0) can be fused")
    return [
        (_fused_encoder(network), FusedSampler(network.denoiser, steps, exact=exact))
        for network, steps in _stages(policy)
    ]


def _stages(policy: DiffusionPolicy) -> list[tuple[DiffusionPolicy, tuple[DdimStep, ...]]]:
    """Who denoises which steps: after fine-tuning the frozen origin the noisiest ones."""
    tuned = tuple(step for step in policy.steps if policy.base is None or step.t < policy.tuned_below)
    stages = [(policy, tuned)]
    if policy.base is not None and len(tuned) < len(policy.steps):
        stages.insert(0, (policy.base, policy.steps[: len(policy.steps) - len(tuned)]))
    return stages


def _fused_encoder(policy: ChunkPolicy) -> nn.Module:
    return FusedImageEncoder(policy.encoder) if isinstance(policy.encoder, ImageEncoder) else policy.encoder
