"""Stage 1 as published: samples one by one, a second pass for the dispersive term, all differences of all pairs."""

import copy

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from published.diffusion import alpha_bars


class ChunkDataset(Dataset):
    """One sample per window, assembled when it is asked for."""

    def __init__(self, state, chunks, images=None, horizon=4):
        """State (N, Ds), chunks (N, Tp, Da), images uint8 (N, 3, H, W) or None."""
        self.state, self.images, self.horizon = torch.from_numpy(state), None, horizon
        self.chunks = torch.from_numpy(chunks)
        if images is not None:
            self.images = torch.from_numpy(images)

    def __len__(self):
        return len(self.state)

    def __getitem__(self, index):
        cond = {"state": torch.stack([self.state[index]])}
        if self.images is not None:
            cond["rgb"] = torch.stack([self.images[index]])
        return self.chunks[index], cond


def pairwise_dispersion(z, temperature=0.5):
    """Log mean_ij exp(-|z_i - z_j|^2 / temperature), by the B x B x D tensor of all differences."""
    z = z.flatten(1)
    distances = (z[:, None] - z[None]).pow(2).sum(-1)
    return torch.log(torch.exp(-distances / temperature).mean() + 1e-8)


class Pretraining:
    """The loop's state; `step` is one optimiser step."""

    def __init__(self, network, dataset, *, num_train_steps, batch_size, dispersive_weight=0.0):
        self.network, self.num_train_steps, self.weight = network, num_train_steps, dispersive_weight
        self.network.encoder.augment = True
        self.averaged = copy.deepcopy(network)
        bars = alpha_bars(num_train_steps).float()
        self.signal, self.noise = bars.sqrt(), (1 - bars).sqrt()
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-6)
        self.loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True)
        self.batches = iter(self.loader)
        self.count, self.tapped = 0, []
        if dispersive_weight:
            network.mlp.input.register_forward_hook(lambda module, inputs, out: self.tapped.append(out))

    def next_batch(self):
        try:
            return next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            return next(self.batches)

    def loss(self, chunks, cond):
        """Noise prediction, and with a weight the dispersive term of a second pass with pictures shifted anew."""
        t = torch.randint(self.num_train_steps, (len(chunks),))
        eps = torch.randn_like(chunks)
        noisy = self.signal[t][:, None, None] * chunks + self.noise[t][:, None, None] * eps
        total = F.mse_loss(self.network(noisy, t, cond), eps)
        if self.weight:
            self.tapped.clear()
            self.network(noisy, t, cond)
            total = total + self.weight * pairwise_dispersion(self.tapped[-1])
        return total

    def step(self):
        chunks, cond = self.next_batch()
        loss = self.loss(chunks, cond)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.count += 1
        if self.count % 10 == 0:
            with torch.no_grad():
                for mean, value in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                    mean.copy_(0.995 * mean + 0.005 * value)
        return loss.item()
