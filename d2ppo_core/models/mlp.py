"""The denoiser: a residual MLP that predicts the noise in an action chunk."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2ppo_core.models.half import half_product
from d2ppo_core.models.mish import mish


class TimeEmbedding(nn.Module):
    """Sinusoids of the training time step, then Linear, Mish, Linear."""

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        """Fix `dim` / 2 frequencies from 1 to 1/10 000; `dim` is even and at least 4."""
        super().__init__()
        half = dim // 2
        exponents = torch.arange(half, dtype=torch.float64) * (-math.log(10_000) / (half - 1))
        self.register_buffer("frequencies", exponents.exp().float(), persistent=False)
        self.expand = nn.Linear(dim, 2 * dim)
        self.project = nn.Linear(2 * dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        """Map integer steps (B,) to embeddings (B, dim)."""
        phase = t.to(self.frequencies.dtype)[:, None] * self.frequencies
        waves = torch.cat([phase.sin(), phase.cos()], dim=-1)
        out: Tensor = self.project(mish(self.expand(waves)))
        return out


class Denoiser(nn.Module):
    """[chunk, t, condition] -> Linear -> one pre-activation residual block -> Linear.

    Hidden activations are named by their order: `early` after the input layer, `mid` inside the residual
    block, `late` behind it. All of them come from the pass that predicts the noise.
    """

    half_products: bool
    """Compute the products of the residual block in bfloat16; weights, sums and everything else stay in float32."""

    def __init__(self, *, chunk_dim: int, condition_dim: int, hidden_dim: int, time_dim: int) -> None:
        """Initialise the layers: chunk (B, chunk_dim), time (B,) and condition (B, condition_dim) in, noise out."""
        super().__init__()
        self.chunk_dim, self.condition_dim, self.hidden_dim = chunk_dim, condition_dim, hidden_dim
        self.half_products = False
        self.time = TimeEmbedding(time_dim)
        self.input = nn.Linear(chunk_dim + time_dim + condition_dim, hidden_dim)
        self.residual_in = nn.Linear(hidden_dim, hidden_dim)
        self.residual_out = nn.Linear(hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, chunk_dim)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Predict the noise in x.

        x (B, Tp*Da), t (B,) integer, condition (B, C) -> noise (B, Tp*Da) and the taps (B, hidden_dim).
        """
        early = self.input(torch.cat([x, self.time(t), condition], dim=-1))
        mid = self.hidden(self.residual_in, mish(early))
        late = early + self.hidden(self.residual_out, mish(mid))
        return self.output(late), {"early": early, "mid": mid, "late": late}

    def hidden(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """One of the residual block's layers, (B, hidden_dim) -> (B, hidden_dim), in the chosen precision."""
        if not self.half_products:
            out: Tensor = layer(x)
            return out
        return half_product(x, layer.weight).add_(layer.bias)

    def collapse(self, num_train_steps: int = 0) -> "CollapsedDenoiser":
        """The same function without taps, at little more than half the arithmetic.

        With `num_train_steps` the embeddings of all T time steps are made at once, which pays for batches of more than
        T rows.
        """
        return CollapsedDenoiser(self, num_train_steps)


class CollapsedDenoiser:
    """A denoiser whose residual branch and output layer are one matrix, made once for many calls.

    Nothing nonlinear stands between `residual_out` and `output`, so output(early + residual_out(a)) =
    W_out early + (W_out W_residual) a + b: the hidden_dim x hidden_dim product per sample is gone. The time embedding
    enters by a product of its own, so that none is spent on the gradient of a state. Exact but for rounding; gradients
    reach the denoiser's own weights.
    """

    def __init__(self, denoiser: Denoiser, num_train_steps: int = 0) -> None:
        """Multiply the matrices, and embed the times of `num_train_steps` steps; 0: each when it is asked for."""
        out, branch = denoiser.output, denoiser.residual_out
        self._denoiser = denoiser
        self._branch = out.weight @ branch.weight
        self._bias = torch.addmv(out.bias, out.weight, branch.bias)
        time_dim = denoiser.time.project.out_features
        parts = (denoiser.chunk_dim, time_dim, denoiser.condition_dim)
        self._parts = chunk, self._time, condition = denoiser.input.weight.split_with_sizes(parts, dim=1)
        self._input = torch.cat([chunk, condition], dim=1)
        every = torch.arange(num_train_steps, device=out.weight.device)
        self._embedded = self._embed(every) if num_train_steps else None

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predict the noise in x; shapes as `Denoiser.forward`, t may be (1,) for all rows."""
        return self.with_taps(x, t, condition)[0]

    def with_taps(self, x: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Noise and the taps `early` and `mid` as `Denoiser.forward`; `late` is the product that is saved here."""
        denoiser = self._denoiser
        early = F.linear(torch.cat([x, condition], dim=-1), self._input, denoiser.input.bias)
        early = early + (self._embed(t) if self._embedded is None else self._embedded.index_select(0, t))
        mid = denoiser.hidden(denoiser.residual_in, mish(early))
        eps = F.linear(early, denoiser.output.weight, self._bias) + F.linear(mish(mid), self._branch)
        return eps, {"early": early, "mid": mid}

    def given(self, condition: Tensor) -> Callable[[Tensor, int], Tensor]:
        """The same as a function of (x, t), one t for all rows: what does not depend on x is made once for many steps.

        condition (B, C). Raises ValueError when the time steps were not embedded beforehand.
        """
        if self._embedded is None:
            raise ValueError("wanted a denoiser collapsed with its number of time steps, got one without")
        denoiser, embedded = self._denoiser, self._embedded
        chunk, _, rest = self._parts
        seen = F.linear(condition, rest, denoiser.input.bias)

        def denoise(x: Tensor, t: int) -> Tensor:
            early = torch.addmm(seen + embedded[t], x, chunk.t())
            mid = denoiser.hidden(denoiser.residual_in, mish(early))
            eps = F.linear(early, denoiser.output.weight, self._bias)
            return torch.addmm(eps, mish(mid), self._branch.t())

        return denoise

    def _embed(self, t: Tensor) -> Tensor:
        """What the time steps (B,) add to the first hidden activation, (B, hidden_dim)."""
        return F.linear(self._denoiser.time(t), self._time)
