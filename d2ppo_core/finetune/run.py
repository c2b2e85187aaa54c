"""A whole fine-tuning run: open policy and worlds, iterate, evaluate, log, save, stop when asked to."""

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from d2ppo_core.config import FinetuneConfig, Started, save_config
from d2ppo_core.envs.protocol import AutoresetMode, VecEnv
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.checkpoint import FILE_NAME, load_checkpoint, save_checkpoint
from d2ppo_core.finetune.collector import MakeEnv, open_collector
from d2ppo_core.finetune.progress import CONFIRMING, EVALUATING, IterationBar
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.pretrain import checkpoint as pretrained
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.device import keep_freed_memory
from d2ppo_core.pretrain.failures import reason
from d2ppo_core.pretrain.metrics import MetricsWriter
from d2ppo_core.pretrain.run import stop_on_signal
from d2ppo_core.run_lock import RunLock, refuse_strangers

METRICS = (
    "iteration",
    "success/start",
    "success/ema",
    "rollout/success",
    "rollout/reward_per_chunk",
    "rollout/env_steps",
    "losses/policy",
    "losses/value",
    "losses/bc",
    "losses/denoising",
    "losses/self_cloning",
    "ppo/approx_kl",
    "ppo/clip_fraction",
    "ppo/ratio",
    "ppo/minibatches",
    "self_cloning/chunks",
    "weighted/mean",
    "weighted/limited",
    "critic/explained_variance",
    "critics/replay",
    "critics/value",
    "critics/return",
    "critics/disagreement",
    "critics/agreement",
    "critics/advantage",
    "optim/actor_gradient_norm",
    "speed/collect_s",
    "speed/update_s",
    "speed/env_steps_per_s",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of `finetune` ended."""

    iteration: int
    finished: bool
    """False when SIGTERM or SIGINT asked for a stop."""
    env_steps: int
    elapsed_s: float
    success: float
    """Best evaluation, which selected the weights; NaN without one."""
    confirmed: float
    """The selected weights in other episodes; NaN before the end, or if none were wanted."""


def finetune(
    config: FinetuneConfig,
    origin: Path,
    make_env: MakeEnv,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    started: Started | None = None,
) -> Outcome:
    """Fine-tune a pre-trained policy; leave `finetune.pt`, `config.yaml`, `metrics.csv` … in `out`.

    Args:
        config: The run.
        origin: Folder of the pre-training.
        make_env: Builds worlds.
        out: Folder of the run.
        resume: Continue the run in `out`; equal to the bit to a run that was never interrupted.
        progress: Show a bar.
        started: What the command line said.

    Raises:
        TrainingError: `out` holds a run already (without `resume`), is in use or cannot be written, a loss is not
            finite (the last good checkpoint stays), or a checkpoint does not fit.
        ConfigError: the policy is of another task, is a fine-tuned one, or reads what the environment does not show.
    """
    _check(out, resume)  # before anything is made
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    with _hold(out):
        _check(out, resume)  # again: a run that held the folder may have ended meanwhile
        saved = load_checkpoint(out) if resume else None
        policy = _pretrained(origin) if saved is None else saved.origin
        with (
            closing(open_collector(config, policy, make_env)) as collector,
            closing(make_env(AutoresetMode.DISABLED)) as eval_env,
        ):
            trainer = Trainer(config, policy, collector)
            if saved is not None:
                trainer.restore(saved)
            try:
                save_config(trainer.config, out / "config.yaml")
                (started or Started()).at(origin).save(out)
                return _loop(trainer, eval_env, out, progress=progress)
            except OSError as error:
                raise TrainingError(f"cannot write to {out}: {reason(error)}; {_last_good(out)}") from error


def _check(out: Path, resume: bool) -> None:
    """Raise TrainingError where there is nothing to go on with, or a new run would overwrite something."""
    if resume:
        if not (out / FILE_NAME).exists():
            load_checkpoint(out)  # says so
        return
    if (out / FILE_NAME).exists():
        raise TrainingError(f"{out} already holds a run; continue it with --resume or choose another --out")
    if (out / pretrained.FILE_NAME).exists():
        raise TrainingError(f"{out} already holds a pre-training; choose another --out")
    refuse_strangers(out)


def _hold(out: Path) -> RunLock:
    try:
        return RunLock(out)
    except OSError as error:
        raise TrainingError(f"cannot write to {out}: {reason(error)}; {_last_good(out)}") from error


def _pretrained(folder: Path) -> Checkpoint:
    run = load_run(folder)
    if run.finetune is not None:
        raise ConfigError(
            f"{folder}: wanted a pre-training as origin, got a fine-tuned policy; continue it by --resume"
        )
    return run.origin


def _last_good(out: Path) -> str:
    """Where to go on from after a failure."""
    there = (out / FILE_NAME).exists()
    return f"the checkpoint of the last whole iteration is in {out}" if there else "there is no checkpoint yet"


def _loop(trainer: Trainer, eval_env: VecEnv, out: Path, *, progress: bool) -> Outcome:
    config = trainer.config
    bar = IterationBar(config.iterations, trainer.iteration, shown=progress)
    done = False
    columns = (*METRICS, *_stage_columns(eval_env, config.success.selection_seeds.start))
    with stop_on_signal() as stop, MetricsWriter(out, trainer.iteration, columns) as metrics, bar:
        while trainer.iteration < config.iterations and not stop.is_set() and not done:
            began_s = time.monotonic()
            scalars = {}
            if trainer.iteration == 0:
                scalars["success/start"] = trainer.evaluate(eval_env, "raw", bar.stage(EVALUATING)).success_rate
            try:
                scalars |= trainer.iterate(bar.stage)
            except TrainingError as error:
                raise TrainingError(f"{error}; {_last_good(out)}") from error
            if trainer.iteration % config.success.every_iterations == 0 or trainer.iteration == config.iterations:
                found = trainer.evaluate(eval_env, "ema", bar.stage(EVALUATING))
                scalars["success/ema"] = found.success_rate
                scalars |= {f"stages/{name}": float(seen.mean()) for name, seen in found.stages.items()}
                reached = 0 < config.success.stop_at <= min(scalars["success/ema"], trainer.best.get("last", 0.0))
                trainer.take_best(scalars["success/ema"])
                trainer.best["last"] = scalars["success/ema"]
                done = reached
            trainer.elapsed_s += time.monotonic() - began_s
            while trainer.update.notes:
                bar.say(trainer.update.notes.pop(0))
            metrics.write(trainer.iteration, scalars)
            save_checkpoint(trainer.checkpoint(), out)
            bar.finish(scalars, trainer.best.get("success"))
        finished = done or trainer.iteration >= config.iterations
        if finished and not stop.is_set():
            trainer.confirm(eval_env, bar.stage(CONFIRMING))
            save_checkpoint(trainer.checkpoint(), out)
    return Outcome(
        iteration=trainer.iteration,
        finished=finished,
        env_steps=trainer.env_steps,
        elapsed_s=trainer.elapsed_s,
        success=float(trainer.best.get("success", math.nan)),
        confirmed=float(trainer.best.get("confirmed", math.nan)),
    )


def _stage_columns(env: VecEnv, seed: int) -> list[str]:
    """The share of evaluated episodes that saw each stage of the task: one column each."""
    return [f"stages/{name}" for name in env.stages(env.reset(seed=seed)[0])]
