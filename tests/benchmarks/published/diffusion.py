"""The denoising chain as published: two networks, one of which is evaluated for nothing in the fine-tuned steps."""

import copy
import math

import torch
from torch import nn

MIN_STD, NOISE_CLIP = 0.1, 3.0


def alpha_bars(num_train_steps):
    """Cosine schedule, (T,) float64."""
    share = [math.cos((t / num_train_steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(num_train_steps + 1)]
    betas = [min(1 - b / a, 0.999) for a, b in zip(share, share[1:], strict=False)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)


def extract(table, index, dims):
    """Entries of a table (K,) per row, shaped to be multiplied by chunks."""
    return table[index].reshape(-1, *[1] * (dims - 1))


class TwoNetworkChain(nn.Module):
    """K steps (DDPM where K = T, else DDIM with eta = 1), of which the last K' belong to the copy that is tuned."""

    def __init__(self, network, num_train_steps, num_steps, num_tuned):
        super().__init__()
        self.frozen = network.requires_grad_(False)
        self.tuned = copy.deepcopy(network).requires_grad_(True)
        self.num_steps, self.num_tuned = num_steps, num_tuned
        bars = alpha_bars(num_train_steps)
        stride = num_train_steps // num_steps
        times = torch.arange(num_train_steps - stride, -1, -stride)
        now = bars[times]
        after = torch.cat([now[1:], torch.ones(1, dtype=torch.float64)])
        sigma = ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
        self.register_buffer("times", times)
        for name, value in {
            "signal": now.sqrt(), "noise": (1 - now).sqrt(), "signal_next": after.sqrt(),
            "direction": (1 - after - sigma**2).clamp_min(0).sqrt(), "sigma": sigma,
        }.items():  # fmt: skip
            self.register_buffer(name, value.float())

    def gaussian(self, x, index, cond):
        """Mean and standard deviation of the next sample; index (B,) in 0 ... K - 1."""
        t = self.times[index]
        eps = self.frozen(x, t, cond)
        tuned = torch.where(index >= self.num_steps - self.num_tuned)[0]
        if len(tuned):
            eps[tuned] = self.tuned(x[tuned], t[tuned], {key: value[tuned] for key, value in cond.items()})
        signal, noise = extract(self.signal, index, x.ndim), extract(self.noise, index, x.ndim)
        x0 = ((x - noise * eps) / signal).clamp(-1, 1)
        eps = (x - signal * x0) / noise
        signal_next = extract(self.signal_next, index, x.ndim)
        mean = signal_next * x0 + extract(self.direction, index, x.ndim) * eps
        return mean, extract(self.sigma, index, x.ndim).clamp_min(MIN_STD).expand_as(x)

    @torch.no_grad()
    def sample(self, cond, horizon=4, action_dim=7):
        """Chunks (N, Tp, Da) and the tuned part of their chains (N, K' + 1, Tp, Da)."""
        count = len(cond["state"])
        x = torch.randn(count, horizon, action_dim)
        chain = [x] if self.num_tuned == self.num_steps else []
        for k in range(self.num_steps):
            mean, std = self.gaussian(x, torch.full((count,), k), cond)
            x = mean + std * torch.randn_like(x).clamp(-NOISE_CLIP, NOISE_CLIP)
            if k >= self.num_steps - self.num_tuned - 1:
                chain.append(x)
        return x.clamp(-1, 1), torch.stack(chain, dim=1)

    def log_prob(self, cond, x, x_next, step):
        """(P, Tp, Da) of every number; step (P,) in 0 ... K' - 1."""
        mean, std = self.gaussian(x, step + self.num_steps - self.num_tuned, cond)
        return torch.distributions.Normal(mean, std).log_prob(x_next)

    @torch.no_grad()
    def log_prob_of_chains(self, cond, chain):
        """(N, K', Tp, Da) of chains (N, K' + 1, Tp, Da) once they are all drawn: the conditions K' times over."""
        repeated = {key: value.repeat_interleave(self.num_tuned, dim=0) for key, value in cond.items()}
        step = torch.arange(self.num_tuned).repeat(len(chain))
        x, x_next = chain[:, :-1].flatten(0, 1), chain[:, 1:].flatten(0, 1)
        return self.log_prob(repeated, x, x_next, step).view(chain[:, 1:].shape)
