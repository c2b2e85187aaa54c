"""The denoising loop for one observation: what does not change with the sample is multiplied out beforehand."""

import copy
import math

import torch
from torch import Tensor, nn

from d2ppo_core.models.mlp import Denoiser
from d2ppo_core.models.schedule import DdimStep

FAINT = 0.1
"""Amplitude of the signal below which dividing by it makes rounding count several hundred times: the first trailing
time, where the forward process has left next to nothing of it."""
_PARTS = 8


def mish(x: Tensor) -> Tensor:
    """Mish by one exponential; where it overflows the fraction is 0, as it should be."""
    grown = 1 + torch.exp(x)
    return x - (x + x) / (grown * grown + 1)


class FusedSampler(nn.Module):
    """Consecutive denoising steps of one network, unrolled, for one observation."""

    def __init__(self, net: Denoiser, steps: tuple[DdimStep, ...], *, exact: bool = False) -> None:
        """Multiply out in float64 what is linear in a row, once for all of `steps`; `exact` computes faint ones so."""
        super().__init__()
        self.steps = steps
        self.faint = sum(math.sqrt(step.alpha_bar) < FAINT for step in steps)
        cut = self.faint if exact else 0
        parts = ((steps[:cut], torch.float64), (steps[cut:], torch.float32))
        self.parts = nn.ModuleList(_FusedSteps(net, part, dtype) for part, dtype in parts if part)

    def forward(self, condition: Tensor, x: Tensor) -> Tensor:
        """(1, C) and a noisy chunk (1, Tp*Da) -> the chunk after these steps (1, Tp*Da)."""
        for part in self.parts:
            x = part(condition, x)
        return x


class _FusedSteps(nn.Module):
    """Steps in one precision; in and out come float32.

    `[early | skip] = condition part + time part + x part`, where `skip` is what the input layer contributes to the
    predicted noise through the residual connection.
    """

    condition_part: Tensor
    time_part: Tensor
    x_part: Tensor
    inner_weight: Tensor
    inner_bias: Tensor
    tail: Tensor

    def __init__(self, net: Denoiser, steps: tuple[DdimStep, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.steps, self.hidden_dim, self.dtype = steps, net.hidden_dim, dtype
        weight, out = _wide(net.input.weight), _wide(net.output.weight)
        x_in, condition_in = weight[:, : net.chunk_dim], weight[:, -net.condition_dim :]
        time_in = weight[:, net.chunk_dim : -net.condition_dim]
        with torch.no_grad():
            times = torch.tensor([step.t for step in steps], device=weight.device)
            early = copy.deepcopy(net.time).double()(times) @ time_in.T + _wide(net.input.bias)
        skip = early @ out.T + out @ _wide(net.residual_out.bias) + _wide(net.output.bias)
        folded = {
            "condition_part": torch.cat([condition_in.T, condition_in.T @ out.T], dim=1),
            "time_part": torch.cat([early, skip], dim=1),
            "x_part": torch.cat([x_in.T, x_in.T @ out.T], dim=1),
            "inner_weight": _wide(net.residual_in.weight).T,
            "inner_bias": _wide(net.residual_in.bias),
            "tail": (out @ _wide(net.residual_out.weight)).T,
        }
        for name, value in folded.items():
            self.register_buffer(name, value.detach().to(dtype).contiguous().clone())

    def forward(self, condition: Tensor, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        base = condition.to(self.dtype) @ self.condition_part + self.time_part
        for k, step in enumerate(self.steps):
            faint = math.sqrt(step.alpha_bar) < FAINT and self.dtype == torch.float32
            product = _in_parts if faint else torch.addmm
            mixed = torch.addmm(base[k : k + 1], x, self.x_part)
            early, skip = mixed[:, : self.hidden_dim], mixed[:, self.hidden_dim :]
            inner = mish(product(self.inner_bias, mish(early), self.inner_weight))
            x = _ddim(x, product(skip, inner, self.tail), step)
        return x.float()


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


def _in_parts(bias: Tensor, row: Tensor, weight: Tensor) -> Tensor:
    """`torch.addmm(bias, row, weight)` for one row, with sums of an eighth of the terms, which round less."""
    parts = math.gcd(row.shape[1], _PARTS)
    split = weight.reshape(parts, -1, weight.shape[1])
    return bias + (row.reshape(parts, 1, -1) @ split).sum(0)


def _ddim(x: Tensor, eps: Tensor, step: DdimStep) -> Tensor:
    """x0 = clip((x - b eps) / a); x' = c x0 + d x, with the recomputed noise eliminated.

    Where the signal a is faint the difference comes first, for rounding of the two quotients would not cancel; b is
    written as 1 - (1 - b), for ONNX Runtime drops products by what it takes for 1.
    """
    signal, noise = math.sqrt(step.alpha_bar), math.sqrt(1 - step.alpha_bar)
    if signal < FAINT:
        x0 = (((x - eps) + (1 - noise) * eps) * (1 / signal)).clamp(-1, 1)
    else:
        x0 = ((1 / signal) * x - (noise / signal) * eps).clamp(-1, 1)
    from_x = step.direction / noise
    from_x0 = math.sqrt(step.alpha_bar_next) - from_x * signal
    return from_x0 * x0 if from_x == 0 else from_x0 * x0 + from_x * x
