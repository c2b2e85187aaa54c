"""Several processes that train one policy on shares of each batch, as torchrun starts them.

The result is the one of a single process, up to rounding: every process draws the whole batch's randomness and keeps
each n-th observation, gradients are averaged, and the dispersive term sees the features of the whole batch.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from d2ppo_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among `world` of them."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs and saves."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Every `world`-th row, from `rank` on; the shares of all processes make up the whole."""
        return rows[self.rank :: self.world] if self.world > 1 else rows

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError when a batch cannot be cut into equal shares."""
        if batch_size % self.world:
            raise ConfigError(f"optim.batch_size: wanted a multiple of {self.world} processes, got {batch_size}")

    def gather(self, z: Tensor) -> Tensor:
        """Features (B / world, D) of all processes as (B, D); gradients reach this process's own."""
        return z if self.world == 1 else _gather(z, self.rank, self.world)

    def whole_batch(self, term: Tensor) -> Tensor:
        """A term of `gather`ed features with `world` times the gradient.

        Each process holds the derivative by its own features only. Averaging the gradients divides by `world`, so this
        makes the average the gradient of the term.
        """
        return term if self.world == 1 else self.world * term - (self.world - 1) * term.detach()

    @torch.no_grad()
    def average(self, parameters: Iterable[nn.Parameter], scalars: Tensor) -> Tensor:
        """Replace every gradient by its mean over the processes, and return the mean of `scalars` (S,), all at once."""
        if self.world == 1:
            return scalars
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), scalars.to(gradients[0].dtype)])
        dist.all_reduce(flat)
        flat /= self.world
        *means, mean_scalars = torch.split(flat, [*(gradient.numel() for gradient in gradients), len(scalars)])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return mean_scalars

    def any(self, flag: bool) -> bool:
        """Whether one of the processes says yes; all of them have to ask."""
        if self.world == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        votes = torch.tensor(float(flag), device=device)
        dist.all_reduce(votes)
        return bool(votes > 0)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gather(z: Tensor, rank: int, world: int) -> Tensor:
    parts = [torch.empty_like(z) for _ in range(world)]
    dist.all_gather(parts, z.detach().contiguous())
    parts[rank] = z
    return torch.cat(parts)


ALONE = Processes()


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """Join the group that torchrun describes in the environment; without it this process is alone.

    Gloo between CPUs, NCCL between GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield Processes(rank=dist.get_rank(), world=world)
    finally:
        dist.destroy_process_group()
