"""Distillation: a clone that denoises in few steps learns the chunks that a teacher makes of the same noise in many.

The deterministic sampler is a function of noise and observation; the student's, with all its steps, is fitted to the
teacher's by squared error. What clipping cuts off keeps a gradient that leads back in, else a first step that is far
out would never return; one that leads further out would not be felt, and training ran away along it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.data.windows import file_sha256
from d2ppo_core.errors import ConfigError
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy, ddim_mean, into_range
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.pretrain.batches import Batch
from d2ppo_core.pretrain.checkpoint import FILE_NAME, load_checkpoint
from d2ppo_core.pretrain.distributed import ALONE, Processes
from d2ppo_core.pretrain.objective import Objective, encode


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A clone with its averaged weights, frozen."""

    policy: DiffusionPolicy
    normalizer: Normalizer
    sha256: str
    """Of its checkpoint."""

    @classmethod
    def open(cls, config: PretrainConfig, shapes: Shapes, device: torch.device) -> "Teacher | None":
        """The teacher of a run, None where there is none.

        Raises:
            TrainingError: its folder holds no clone that can be read.
            ConfigError: it reads, answers or is built otherwise than the policy that is to learn from it.
        """
        if not config.distil.teacher:
            return None
        folder = Path(config.distil.teacher)
        saved = load_checkpoint(folder)
        theirs, model = saved.config, config.model
        as_ours = replace(
            theirs.model, num_denoising_steps=model.num_denoising_steps, sampler_times=model.sampler_times
        )
        read = ("low_dim_keys", "image_keys", "pred_horizon", "action_representation", "image_fit", "image_size_px")
        for name, own, other in (
            ("task", config.task, theirs.task),
            ("model", model, as_ours),
            ("shapes", shapes, saved.shapes),
            *((f"data.{key}", getattr(config.data, key), getattr(theirs.data, key)) for key in read),
        ):
            if own != other:
                raise ConfigError(f"distil.teacher: {folder} has another {name} than this run: {other}, here {own}")
        policy = build_policy(theirs, shapes)
        assert isinstance(policy, DiffusionPolicy)  # as the model is the same
        policy.load_state_dict(saved.ema)
        return cls(
            policy=policy.to(device).eval().requires_grad_(False),
            normalizer=saved.normalizer,
            sha256=file_sha256(folder / FILE_NAME),
        )

    def objective(
        self,
        policy: ChunkPolicy,
        batch: Batch,
        config: PretrainConfig,
        *,
        tap: str,
        weight: float | Tensor,
        processes: Processes = ALONE,
    ) -> Objective:
        """Mean squared difference of the student's chunks and the teacher's; `tap` and `weight` go unused."""
        assert isinstance(policy, DiffusionPolicy)
        noise = batch.eps[:: config.loss.noise_samples_per_obs]
        wanted = self.policy.sample_chain(batch.state, batch.images, noise)[:, -1]
        found = denoised(policy, encode(policy, batch.state, batch.images, config), noise)
        loss = (found - wanted).square().mean()
        return Objective(loss, loss, loss.new_zeros(()), None)


def denoised(policy: DiffusionPolicy, condition: Tensor, noise: Tensor) -> Tensor:
    """What the sampler makes of noise (B, Tp*Da) for conditions (B, C), with gradients."""
    x, denoise = noise, policy.denoise_given(condition)
    for step in policy.steps:
        x = ddim_mean(x, denoise(x, step.t), step, clip).mean
    return x


class _Clip(torch.autograd.Function):
    """See `clip`."""

    @staticmethod
    def forward(ctx: Any, x0: Tensor) -> Tensor:
        ctx.save_for_backward(x0)
        return into_range(x0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x0,) = ctx.saved_tensors
        further_out = ((x0 > 1) & (gradient < 0)) | ((x0 < -1) & (gradient > 0))
        return gradient.masked_fill(further_out, 0.0)


def clip(x0: Tensor) -> Tensor:
    """As the sampler clips, with gradients that lead back into [-1, 1] and none that lead out of it."""
    clipped: Tensor = _Clip.apply(x0)  # type: ignore[no-untyped-call]
    return clipped
