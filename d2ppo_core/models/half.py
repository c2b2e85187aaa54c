"""A matrix product in bfloat16 between float32 tensors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _HalfProduct(torch.autograd.Function):
    """Written out, since the casts that autograd derives copy the weight's gradient element by element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return (x @ weight.t()).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradient.bfloat16()
        return (gradient @ weight).float(), (gradient.t() @ x).float()


def half_product(x: Tensor, weight: Tensor) -> Tensor:
    """X (B, D) times weight (H, D) transposed -> (B, H) in float32, rounded to bfloat16's 8 bits on the way."""
    out: Tensor = _HalfProduct.apply(x, weight)  # type: ignore[no-untyped-call]
    return out
