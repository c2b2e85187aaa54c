"""Features of a policy on a fixed sample, at the layers that the dispersive loss can tap.

The denoiser sees the noisy chunk and the time step beside the observation, so its features differ even for equal
observations. They are therefore taken under two conditions: `observation`, where all windows get the same pure noise at
the first denoising step, so that only the observation makes a difference; and `training`, with a noise and a time step
for each window as the loss sees them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from d2ppo_core.analysis.samples import Sample
from d2ppo_core.config.schema import TAPS
from d2ppo_core.losses.dispersive import dispersion
from d2ppo_core.models.build import build_diffusion
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.checkpoint import Checkpoint

WEIGHTS = ("initial", "trained", "averaged")
"""Before training, after it, and the average over the last steps, which is what gets exported."""
CONDITIONS = ("observation", "training")
_ENCODE_BATCH = 128

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features (N, D) by tap."""

    observation: tuple[Mapping[str, Float32], ...]
    """Once per draw of the common noise."""
    training: Mapping[str, Float32]

    def of(self, condition: str) -> Mapping[str, Float32]:
        """Features under one of the CONDITIONS, of the first draw."""
        return self.training if condition == "training" else self.observation[0]


@dataclass(frozen=True)
class Dispersion:
    """Mean pairwise distance per root dimension and effective rank of some features."""

    distance: float
    rank: float


def policies(saved: Checkpoint) -> dict[str, DiffusionPolicy]:
    """The policy of a run with each of the WEIGHTS; `initial` is drawn again from the run's seed."""
    built: dict[str, DiffusionPolicy] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(saved.config.seed)
        for name in WEIGHTS:
            built[name] = build_diffusion(saved.config, saved.shapes).eval()
    built["trained"].load_state_dict(saved.model)
    built["averaged"].load_state_dict(saved.ema)
    return built


@torch.no_grad()
def extract(policy: DiffusionPolicy, sample: Sample, *, draws: int, seed: int) -> Features:
    """Run a sample through encoder and denoiser; noise and time steps depend on the seed alone."""
    condition = _encode(policy, sample)
    generator = torch.Generator().manual_seed(seed)
    chunks = torch.from_numpy(sample.chunks).flatten(1)
    noise = torch.randn(draws, chunks.shape[1], generator=generator)
    eps = torch.randn(chunks.shape, generator=generator)
    t = torch.randint(policy.num_train_steps, (len(chunks),), generator=generator)
    first = torch.full((len(chunks),), policy.steps[0].t)
    return Features(
        observation=tuple(_taps(policy, draw.expand_as(chunks), first, condition) for draw in noise),
        training=_taps(policy, policy.add_noise(chunks, eps, t), t, condition),
    )


def _encode(policy: DiffusionPolicy, sample: Sample) -> Tensor:
    parts = []
    for start in range(0, len(sample), _ENCODE_BATCH):
        batch = slice(start, start + _ENCODE_BATCH)
        images = None if sample.images is None else torch.from_numpy(sample.images[batch])
        parts.append(policy.encode(torch.from_numpy(sample.state[batch]), images))
    return torch.cat(parts)


def _taps(policy: DiffusionPolicy, x: Tensor, t: Tensor, condition: Tensor) -> dict[str, Float32]:
    _, taps = policy.denoiser(x, t, condition)
    return {tap: {"encoder": condition, **taps}[tap].numpy() for tap in TAPS}


def measure_dispersion(features: Features) -> dict[str, dict[str, Dispersion]]:
    """Dispersion by condition and tap."""
    return {
        condition: {
            tap: Dispersion(*dispersion(torch.from_numpy(np.array(z)))) for tap, z in features.of(condition).items()
        }
        for condition in CONDITIONS
    }
