"""A whole pre-training run: open the data, step, log, validate, save, stop when asked to."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from d2ppo_core.config import PretrainConfig, Started, save_config
from d2ppo_core.data.tasks import env_name_of
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import TrainingError
from d2ppo_core.pretrain.batches import draw_batch
from d2ppo_core.pretrain.checkpoint import FILE_NAME, Checkpoint, load_checkpoint, save_checkpoint
from d2ppo_core.pretrain.device import keep_freed_memory, open_device
from d2ppo_core.pretrain.distributed import Processes, join_processes
from d2ppo_core.pretrain.failures import explaining_memory, reason, save_bad_batch
from d2ppo_core.pretrain.metrics import MetricsWriter
from d2ppo_core.pretrain.provenance import describe_dataset
from d2ppo_core.pretrain.trainer import Trainer
from d2ppo_core.run_lock import RunLock, refuse_strangers


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of `pretrain` ended."""

    step: int
    finished: bool
    """False when SIGTERM or SIGINT asked for a stop."""
    elapsed_s: float
    """Training time of the run, earlier calls included."""
    leads: bool = True
    """Whether this process is the one that logged and saved."""


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


def pretrain(
    config: PretrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    started: Started | None = None,
) -> Outcome:
    """Train a policy and leave `checkpoint.pt`, `config.yaml`, `started.yaml`, `metrics.csv` and `tensorboard/`.

    Under torchrun every process calls this; the first one logs and saves. SIGTERM and SIGINT save a checkpoint and
    return.

    Raises:
        TrainingError: `out` holds a run already (without `resume`) or is in use, loss or gradient are not finite,
            memory runs out, or `out` cannot be written. The last good checkpoint stays; a bad batch is saved beside it.
        DataError: the dataset is bad or of another task.
        ConfigError: the device is not there, or the batch cannot be shared among the processes.
    """
    _check(out, resume)  # before anything is made
    device = open_device(config.optim.device)
    torch.set_num_threads(config.optim.threads)
    keep_freed_memory()
    with join_processes(device) as processes, _hold(out, processes):
        if processes.leads:
            _check(out, resume)  # again: a run that held the folder may have ended meanwhile
        trainer = _prepare(config, data, load_checkpoint(out) if resume else None, processes)
        try:
            if processes.leads:
                save_config(config, out / "config.yaml")
                (started or Started()).at(data).save(out)
            _loop(trainer, out, progress=progress and processes.leads)
        except OSError as error:
            raise TrainingError(f"cannot write to {out}: {reason(error)}; {_last_good(out)}") from error
    return Outcome(
        step=trainer.step,
        finished=trainer.step >= config.optim.steps,
        elapsed_s=trainer.elapsed_s,
        leads=processes.leads,
    )


def _check(out: Path, resume: bool) -> None:
    """Raise TrainingError where there is nothing to go on with, or a new run would overwrite something."""
    if resume:
        if not (out / FILE_NAME).exists():
            load_checkpoint(out)  # says so
        return
    if (out / FILE_NAME).exists():
        raise TrainingError(f"{out} already holds a run; continue it with --resume or choose another --out")
    refuse_strangers(out)


def _hold(out: Path, processes: Processes) -> AbstractContextManager[object]:
    """The folder, for all processes that share the run. Raises TrainingError where another run has it."""
    if not processes.leads:
        return nullcontext()
    try:
        return RunLock(out)
    except OSError as error:
        raise TrainingError(f"cannot write to {out}: {reason(error)}; {_last_good(out)}") from error


def _prepare(config: PretrainConfig, data: Path, saved: Checkpoint | None, processes: Processes) -> Trainer:
    limit = config.data.max_episodes or "all"
    with explaining_memory("while loading the data", f"lower data.max_episodes (now {limit})"):
        windows, validation = load_windows(data, config.data, env_name=env_name_of(config.task))
        trainer = Trainer(config, windows, validation, describe_dataset(data, windows), processes=processes)
    if saved is not None:
        trainer.restore(saved)
    return trainer


def _last_good(out: Path) -> str:
    """Where to go on from after a failure."""
    try:
        return f"last good checkpoint: step {load_checkpoint(out).step} is in {out}"
    except TrainingError:
        return "last good checkpoint: none"


def _step(trainer: Trainer, out: Path) -> dict[str, float]:
    """One step of the trainer; when it fails, the message says what a user can do and where to go on from."""
    config, number = trainer.config, trainer.step + 1
    advice = f"lower optim.batch_size (now {config.optim.batch_size})"
    if config.loss.noise_samples_per_obs > 1:
        advice += f" or loss.noise_samples_per_obs (now {config.loss.noise_samples_per_obs})"
    try:
        with explaining_memory(f"at step {number}", advice):
            try:
                return trainer.train_step(detailed=number % config.optim.log_every == 0)
            except TrainingError as error:
                if not trainer.processes.leads:
                    raise
                batch = draw_batch(trainer.data, config, trainer.step)
                raise TrainingError(f"{error}; {save_bad_batch(batch, number, out)}") from error
    except TrainingError as error:
        raise TrainingError(f"{error}; {_last_good(out)}") from error


def _save(trainer: Trainer, out: Path) -> None:
    try:
        save_checkpoint(trainer.checkpoint(), out)
    except TrainingError as error:
        raise TrainingError(f"{error}; {_last_good(out)}") from error


def _loop(trainer: Trainer, out: Path, *, progress: bool) -> None:
    optim, processes = trainer.config.optim, trainer.processes
    started_s, last_saved_s = time.monotonic() - trainer.elapsed_s, time.monotonic()
    writer = MetricsWriter(out, trainer.step) if processes.leads else nullcontext()
    bar = tqdm(total=optim.steps, initial=trainer.step, unit="step", disable=not progress, mininterval=2.0)
    with stop_on_signal() as stop, writer as metrics, bar:
        durations_s: list[float] = []
        while trainer.step < optim.steps and not processes.any(stop.is_set()):
            began_s = time.monotonic()
            scalars = _step(trainer, out)
            now_s = time.monotonic()
            trainer.elapsed_s = now_s - started_s
            durations_s.append(now_s - began_s)
            bar.update()
            if metrics is None:
                continue
            if trainer.step % optim.log_every == 0 or trainer.step == optim.steps:
                rate = min(optim.batch_size, len(trainer.data)) / float(np.median(durations_s))
                durations_s.clear()
                scalars["speed/samples_per_s"] = rate
                if trainer.step % optim.validate_every == 0 or trainer.step == optim.steps:
                    scalars |= trainer.validate()
                metrics.write(trainer.step, scalars)
                bar.set_postfix(loss=f"{scalars['losses/denoising']:.4f}", samples_s=f"{rate:.0f}")
            if now_s - last_saved_s >= optim.checkpoint_every_s:
                _save(trainer, out)
                last_saved_s = now_s
        if processes.leads:
            _save(trainer, out)
