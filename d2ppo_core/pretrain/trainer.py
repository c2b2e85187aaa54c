"""Stage 1, one step for state and image policies: draw a batch, descend, average."""

import math
from dataclasses import replace
from typing import Any

import torch

from d2ppo_core.config import OptimConfig, PretrainConfig, to_mapping
from d2ppo_core.config.load import cannot_go_on
from d2ppo_core.data.normalizer import Normalizer, Range
from d2ppo_core.data.windows import Windows
from d2ppo_core.errors import TrainingError
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.batches import Tensors, draw_batch
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.device import compiled, open_device
from d2ppo_core.pretrain.diagnostics import dispersion_scalars
from d2ppo_core.pretrain.distil import Teacher
from d2ppo_core.pretrain.distributed import ALONE, Processes
from d2ppo_core.pretrain.ema import Ema
from d2ppo_core.pretrain.first_layer import first_layer
from d2ppo_core.pretrain.objective import OFF, objective
from d2ppo_core.pretrain.provenance import describe_code
from d2ppo_core.pretrain.validation import action_error, sensitivity

_MAX_VALIDATION_WINDOWS = 512


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Linear warm-up over `warmup_steps`, then half a cosine down to `lr_final` at the last step."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps)
    return optim.lr_final + 0.5 * (optim.lr - optim.lr_final) * (1 + math.cos(math.pi * min(progress, 1.0)))


class Trainer:
    """Everything a run consists of, restorable to the bit."""

    def __init__(
        self,
        config: PretrainConfig,
        windows: Windows,
        validation: Windows | None,
        dataset: dict[str, Any],
        *,
        processes: Processes = ALONE,
    ) -> None:
        """Build networks and optimiser; the seed decides the first weights.

        Args:
            config: The run.
            windows: Training data.
            validation: Held-out data, if any.
            dataset: What the checkpoint says about the data (see `describe_dataset`).
            processes: Among which every batch is shared.

        Raises:
            ConfigError: device or compiler are not there, or the batch cannot be shared equally.
        """
        processes.check_batch(min(config.optim.batch_size, len(windows)))
        device = open_device(config.optim.device)
        torch.manual_seed(config.seed)
        self.config, self.dataset, self.low_dim_sizes = config, dataset, windows.low_dim_sizes
        self.processes, self.code = processes, describe_code()
        action_dim = windows.chunks.shape[-1]
        self.normalizer = Normalizer(
            state=Range.measure(windows.state, min_range=config.data.min_range),
            action=Range.measure(windows.chunks.reshape(-1, action_dim), min_range=config.data.min_range),
        )
        self.shapes = _shapes(windows)
        self.teacher = Teacher.open(config, self.shapes, device)
        if self.teacher is not None:
            self.normalizer = self.teacher.normalizer
            self.dataset = {**dataset, "teacher_sha256": self.teacher.sha256}
        self.data = Tensors.from_windows(windows, self.normalizer, device)
        self.validation = None if validation is None else Tensors.from_windows(validation, self.normalizer, device)
        self.policy = build_policy(config, self.shapes).to(device)
        self.averaged = build_policy(config, self.shapes).to(device)
        if isinstance(self.policy, DiffusionPolicy):
            self.policy.denoiser.half_products = config.optim.precision == "bfloat16"
        if self.teacher is not None:
            self.policy.load_state_dict(self.teacher.policy.state_dict())
        self._parameters = list(self.policy.parameters())
        optim = config.optim
        self.ema = Ema(
            self.policy,
            decay=optim.ema_decay,
            every=optim.ema_every,
            start_step=optim.ema_start_step,
            warmup=optim.ema_warmup,
        )
        self.optimizer = torch.optim.AdamW(self._parameters, lr=optim.lr, weight_decay=optim.weight_decay, fused=True)
        self._measured = objective if self.teacher is None else self.teacher.objective
        self._objective = compiled(self._measured, optim)
        self.step = 0
        self.elapsed_s = 0.0

    def train_step(self, *, detailed: bool) -> dict[str, float]:
        """One optimiser step; returns scalars. Raises TrainingError, before touching weights, on a bad loss."""
        config, loss = self.config, self.config.loss
        lr, tap = learning_rate(config.optim, self.step), loss.dispersive_tap if loss.active else OFF
        weight = loss.dispersive_weight if loss.active else 0.0
        batch = draw_batch(self.data, config, self.step, self.processes)
        self.optimizer.zero_grad(set_to_none=True)
        if config.optim.compile:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        result = self._objective(self.policy, batch, config, tap=tap, weight=weight, processes=self.processes)
        result.total.backward()  # type: ignore[no-untyped-call]
        means = self.processes.average(self._parameters, torch.stack([result.denoising, result.dispersive]))
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        denoising, dispersive, gradient_norm = torch.cat([means.detach(), norm[None]]).tolist()
        total = denoising + weight * dispersive
        if not math.isfinite(total):
            raise TrainingError(f"the loss is {total} at step {self.step + 1}")
        if not math.isfinite(gradient_norm):
            raise TrainingError(f"the gradient is not finite at step {self.step + 1}")
        details = dispersion_scalars(self.policy, batch, config) if detailed and self.processes.leads else {}
        if 0 < config.optim.grad_clip_norm < gradient_norm:  # a pass over all gradients, seldom needed
            torch._foreach_mul_(gradients, config.optim.grad_clip_norm / gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.policy, self.step)
        return details | {
            "losses/total": total,
            "losses/denoising": denoising,
            "losses/dispersive": dispersive,
            "optim/lr": lr,
            "optim/gradient_norm": gradient_norm,
        }

    @torch.no_grad()
    def _on_batch(self, data: Tensors) -> dict[str, float]:
        """Loss without the term and first layer of the averaged policy, with noise that never changes."""
        quiet = replace(
            self.config,
            data=replace(self.config.data, random_shift_px=0, state_noise_std=0.0),
            optim=replace(self.config.optim, batch_size=_MAX_VALIDATION_WINDOWS),
        )
        batch = draw_batch(data, quiet, 0)
        loss = self._measured(self.averaged, batch, quiet, tap=OFF, weight=0.0).denoising
        return {"losses/validation": float(loss), **first_layer(self.averaged, batch)}

    def validate(self) -> dict[str, float]:
        """Scalars of the averaged policy on held-out windows; without any, how it listens on those of training."""
        self.ema.copy_to(self.averaged)
        policy, held_out = self.averaged, self.validation
        data = self.data if held_out is None else held_out
        found = self._on_batch(data) | {"validation/sensitivity": sensitivity(policy, data)}
        if held_out is None:
            del found["losses/validation"]
            return found
        return found | {"validation/action_error": action_error(policy, held_out)}

    def checkpoint(self) -> Checkpoint:
        """The state of the run now."""
        return Checkpoint(
            config=self.config,
            normalizer=self.normalizer,
            shapes=self.shapes,
            low_dim_sizes=self.low_dim_sizes,
            dataset=self.dataset,
            code=self.code,
            step=self.step,
            elapsed_s=self.elapsed_s,
            model=self.policy.state_dict(),
            ema=self.ema.state_dict(),
            optimizer=self.optimizer.state_dict(),
            rng_state=torch.get_rng_state(),
        )

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint. Raises TrainingError when it belongs to another run or dataset."""
        if saved.gone:
            raise TrainingError(cannot_go_on(saved.gone))
        if differing := _differences(_fixed(saved.config), _fixed(self.config)):
            raise TrainingError(
                f"the checkpoint was trained with another configuration ({differing}); leave out --config and --set to "
                "go on by its own, or use another --out folder"
            )
        if saved.dataset["sha256"] != self.dataset["sha256"]:
            was, now = (f"{d.get('file', 'a file')} ({d['sha256'][:12]})" for d in (saved.dataset, self.dataset))
            raise TrainingError(
                f"the checkpoint was trained on another dataset: {was}, now {now}; use another --out folder"
            )
        if saved.dataset.get("teacher_sha256") != self.dataset.get("teacher_sha256"):
            raise TrainingError(
                f"distil.teacher: {self.config.distil.teacher} holds another clone than the one this run learns from; "
                "put that back, or use another --out folder"
            )
        self.policy.load_state_dict(saved.model)
        self.ema.load_state_dict(saved.ema)
        self.optimizer.load_state_dict(saved.optimizer)
        torch.set_rng_state(saved.rng_state)
        self.step, self.elapsed_s = saved.step, saved.elapsed_s
        self.code = saved.code


def _shapes(windows: Windows) -> Shapes:
    """What the networks are sized by."""
    cameras, height, width = (0, 0, 0) if windows.images is None else windows.images.shape[1:4]
    return Shapes(
        state_dim=windows.state.shape[1],
        action_dim=windows.chunks.shape[-1],
        num_cameras=cameras,
        image_hw=(height, width),
        camera_hw=windows.camera_hw,
    )


def _fixed(config: PretrainConfig) -> PretrainConfig:
    """The part of a configuration that must not change between the calls of a run."""
    quiet = replace(config.optim, log_every=1, validate_every=1, checkpoint_every_s=0.0)
    return replace(config, optim=replace(quiet, device="cpu", compile=False, threads=1))


def _differences(saved: PretrainConfig, now: PretrainConfig) -> str:
    """The first values that differ, by their dotted names; empty when none does."""

    def flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for key, value in mapping.items():
            parts |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return parts

    before, after = flat(to_mapping(saved)), flat(to_mapping(now))
    found = [f"{key} {before[key]!r}, now {after[key]!r}" for key in before if before[key] != after[key]]
    return "; ".join(found[:3])
