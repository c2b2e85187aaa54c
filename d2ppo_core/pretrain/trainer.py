"""Stage 1, one loop for state and image policies: draw a batch, descend, average, log, checkpoint."""

import ctypes
import math
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from d2ppo_core.config import OptimConfig, PretrainConfig, save_config
from d2ppo_core.data.normalizer import Normalizer, Range
from d2ppo_core.data.tasks import env_name_of
from d2ppo_core.data.windows import Windows, load_windows
from d2ppo_core.errors import TrainingError
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.pretrain.batches import Tensors, draw_batch
from d2ppo_core.pretrain.checkpoint import FILE_NAME, Checkpoint, load_checkpoint, save_checkpoint
from d2ppo_core.pretrain.ema import Ema
from d2ppo_core.pretrain.metrics import MetricsWriter
from d2ppo_core.pretrain.objective import dispersion_scalars, objective
from d2ppo_core.pretrain.provenance import describe_code, describe_dataset

_MAX_VALIDATION_WINDOWS = 512


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of `pretrain` ended."""

    step: int
    finished: bool
    """False when SIGTERM or SIGINT asked for a stop."""
    elapsed_s: float
    """Training time of the run, earlier calls included."""


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Linear warm-up over `warmup_steps`, then half a cosine down to `lr_final` at the last step."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps)
    return optim.lr_final + 0.5 * (optim.lr - optim.lr_final) * (1 + math.cos(math.pi * min(progress, 1.0)))


def keep_freed_memory() -> None:
    """Ask glibc to reuse large blocks instead of returning them: a fifth of an image step is page faults else."""
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 32 * 2**20)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 256 * 2**20)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, so that the loop can save and leave."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = {s: signal.signal(s, lambda *_: event.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Trainer:
    """Everything a run consists of, restorable to the bit."""

    def __init__(self, config: PretrainConfig, windows: Windows, validation: Windows | None, dataset: dict[str, Any]):
        torch.manual_seed(config.seed)
        self.config, self.dataset, self.low_dim_sizes = config, dataset, windows.low_dim_sizes
        self.code = describe_code()
        action_dim = windows.chunks.shape[-1]
        self.normalizer = Normalizer(
            state=Range.measure(windows.state, min_range=config.data.min_range),
            action=Range.measure(windows.chunks.reshape(-1, action_dim), min_range=config.data.min_range),
        )
        image_shape = (0, 0, 0) if windows.images is None else windows.images.shape[1:4]
        self.shapes = Shapes(
            state_dim=windows.state.shape[1],
            action_dim=action_dim,
            num_cameras=image_shape[0],
            image_hw=(image_shape[1], image_shape[2]),
        )
        self.data = Tensors.from_windows(windows, self.normalizer)
        self.validation = None if validation is None else Tensors.from_windows(validation, self.normalizer)
        self.policy = build_policy(config, self.shapes)
        self.averaged = build_policy(config, self.shapes)
        optim = config.optim
        self.ema = Ema(self.policy, decay=optim.ema_decay, every=optim.ema_every, start_step=optim.ema_start_step)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=optim.lr, weight_decay=optim.weight_decay, fused=True
        )
        self.step = 0
        self.elapsed_s = 0.0

    def train_step(self, *, detailed: bool) -> dict[str, float]:
        """One optimiser step; returns scalars. Raises TrainingError, before touching weights, on a bad loss."""
        optim = self.config.optim
        lr = learning_rate(optim, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        result = objective(self.policy, draw_batch(self.data, self.config, self.step), self.config)
        total = result.total.item()
        if not math.isfinite(total):
            raise TrainingError(f"the loss is {total} at step {self.step + 1}")
        self.optimizer.zero_grad(set_to_none=True)
        result.total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), optim.grad_clip_norm or math.inf)
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient is not finite at step {self.step + 1}")
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.policy, self.step)
        scalars = {
            "losses/total": total,
            "losses/denoising": result.denoising.item(),
            "losses/dispersive": result.dispersive.item(),
            "optim/lr": lr,
            "optim/gradient_norm": float(norm),
        }
        return scalars | (dispersion_scalars(result, self.config) if detailed else {})

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Noise-prediction loss of the averaged policy on held-out windows, with noise that never changes."""
        if self.validation is None:
            return math.nan
        self.ema.copy_to(self.averaged)
        quiet = replace(
            self.config,
            data=replace(self.config.data, random_shift_px=0, state_noise_std=0.0),
            optim=replace(self.config.optim, batch_size=_MAX_VALIDATION_WINDOWS),
        )
        return float(objective(self.averaged, draw_batch(self.validation, quiet, 0), quiet).denoising)

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
        if _fixed(saved.config) != _fixed(self.config):
            raise TrainingError("the checkpoint was trained with another configuration; use another --out folder")
        if saved.dataset["sha256"] != self.dataset["sha256"]:
            raise TrainingError("the checkpoint was trained on another dataset; use another --out folder")
        self.policy.load_state_dict(saved.model)
        self.ema.load_state_dict(saved.ema)
        self.optimizer.load_state_dict(saved.optimizer)
        torch.set_rng_state(saved.rng_state)
        self.step, self.elapsed_s = saved.step, saved.elapsed_s
        self.code = saved.code


def _fixed(config: PretrainConfig) -> PretrainConfig:
    """The part of a configuration that must not change between the calls of a run."""
    optim = replace(config.optim, threads=1, log_every=1, validate_every=1, checkpoint_every_s=0.0)
    return replace(config, optim=optim)


def pretrain(config: PretrainConfig, data: Path, out: Path, *, resume: bool = False, progress: bool = True) -> Outcome:
    """Train a policy and leave `checkpoint.pt`, `config.yaml`, `metrics.csv` and `tensorboard/` in `out`.

    Raises TrainingError when `out` holds a run already (without `resume`) or the loss is not finite; the last good
    checkpoint stays. Raises DataError on a bad dataset. SIGTERM and SIGINT save a checkpoint and return.
    """
    if not resume and (out / FILE_NAME).exists():
        raise TrainingError(f"{out} already holds a run; continue it with --resume or choose another --out")
    saved = load_checkpoint(out) if resume else None
    torch.set_num_threads(config.optim.threads)
    keep_freed_memory()
    windows, validation = load_windows(data, config.data, env_name=env_name_of(config.task))
    trainer = Trainer(config, windows, validation, describe_dataset(data, windows))
    if saved is not None:
        trainer.restore(saved)
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, out / "config.yaml")
    return _loop(trainer, out, progress=progress)


def _loop(trainer: Trainer, out: Path, *, progress: bool) -> Outcome:
    optim = trainer.config.optim
    started_s, last_saved_s = time.monotonic() - trainer.elapsed_s, time.monotonic()
    bar = tqdm(total=optim.steps, initial=trainer.step, unit="step", disable=not progress, mininterval=2.0)
    with stop_on_signal() as stop, MetricsWriter(out, trainer.step) as metrics, bar:
        durations_s: list[float] = []
        while trainer.step < optim.steps and not stop.is_set():
            began_s = time.monotonic()
            try:
                scalars = trainer.train_step(detailed=(trainer.step + 1) % optim.log_every == 0)
            except TrainingError as error:
                saved = f"step {load_checkpoint(out).step} is in {out}" if (out / FILE_NAME).exists() else "none"
                raise TrainingError(f"{error}; last good checkpoint: {saved}") from error
            now_s = time.monotonic()
            trainer.elapsed_s = now_s - started_s
            durations_s.append(now_s - began_s)
            bar.update()
            if trainer.step % optim.log_every == 0 or trainer.step == optim.steps:
                rate = min(optim.batch_size, len(trainer.data)) / float(np.median(durations_s))
                durations_s.clear()
                scalars["speed/samples_per_s"] = rate
                if trainer.step % optim.validate_every == 0 or trainer.step == optim.steps:
                    scalars["losses/validation"] = trainer.validation_loss()
                metrics.write(trainer.step, scalars)
                bar.set_postfix(loss=f"{scalars['losses/denoising']:.4f}", samples_s=f"{rate:.0f}")
            if now_s - last_saved_s >= optim.checkpoint_every_s:
                save_checkpoint(trainer.checkpoint(), out)
                last_saved_s = now_s
        save_checkpoint(trainer.checkpoint(), out)
    return Outcome(step=trainer.step, finished=trainer.step >= optim.steps, elapsed_s=trainer.elapsed_s)
