"""`d2ppo finetune`: optimise a cloned policy by PPO in batched worlds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from d2ppo_core.config import FinetuneConfig, Started, load_finetune_config, load_kept_finetune_config, read_started
from d2ppo_core.errors import ConfigError
from d2ppo_core.representations import OSC_DELTA
from d2ppo_core.task_folders import named

if TYPE_CHECKING:
    from d2ppo_core.finetune.collector import MakeEnv
    from d2ppo_core.finetune.run import Outcome
    from sim.rendering.offscreen import PictureSize


def worlds_of(config: FinetuneConfig, *, image_size_px: PictureSize, action_representation: str = OSC_DELTA) -> MakeEnv:
    """How to build the worlds of a run; those for evaluation are robosuite's own and end an episode when it is solved.

    Args:
        config: The run.
        image_size_px: Side, or height and width, of the pictures that the policy was trained with; 0 for none.
        action_representation: What the policy's actions mean.

    Raises:
        ConfigError: the worlds cannot differ as much as the configuration asks for.
    """
    from d2ppo_core.envs import AutoresetMode, VecEnv
    from sim.batch.env import BatchedEnv
    from sim.rendering.offscreen import height_and_width

    image_hw = height_and_width(image_size_px)

    def make(mode: AutoresetMode, /, *, num_envs: int = config.env.num_envs) -> VecEnv:
        training, env = mode is AutoresetMode.SAME_STEP, config.env
        return BatchedEnv(
            config.task,
            num_envs if training else min(num_envs, config.success.episodes),
            num_threads=env.threads,
            horizon_steps=env.horizon_steps,
            autoreset_mode=mode,
            terminate_on_success=env.terminate_on_success if training else True,
            images=any(image_hw),
            image_size_px=image_hw,
            randomisation=env.randomisation if training else None,
            keep_arm_limits=env.arm_limits and training,
            action_representation=action_representation,
        )

    return make


def resolve(task: str, name: str | None, overrides: Sequence[str], section: str = "finetune") -> FinetuneConfig:
    """The configuration that a command line asks for. Raises ConfigError when it is none, or of another task."""
    task, usual = named(task)
    return _of_task(task, load_finetune_config(name or usual or f"{task}_state", overrides, section=section))


def _of_task(task: str, config: FinetuneConfig) -> FinetuneConfig:
    if config.task != task:
        raise ConfigError(f"{config.name}: wanted a configuration for {task}, got one for {config.task}")
    return config


def _figures(outcome: Outcome, config: FinetuneConfig) -> str:
    """The figure to report, and the one that selected the weights; the latter alone where nothing was confirmed."""
    selected, success = f"in {config.success.episodes} episodes", config.success
    if math.isnan(outcome.confirmed):
        return f"success {outcome.success:.1%} {selected} that selected the weights, not confirmed"
    others = f"in {success.confirm_episodes} others"
    return f"success {outcome.confirmed:.1%} {others} (selected by {outcome.success:.1%} {selected})"


@click.command()
@click.argument("task")
@click.option("--config", "name", help="Shipped name or YAML file with a section `finetune`; default: <task>_state.")
@click.option("--origin", type=click.Path(path_type=Path), help="Folder of the pre-training; default: runs/<config>.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; default: runs/<config>_tuned.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override, e.g. finetune.ppo.epochs=5, or ppo.epochs=5.",
)
@click.option("--published", is_flag=True, help="Settings close to the paper's instead of the recommended ones.")
@click.option("--resume", is_flag=True, help="Continue the run in --out exactly, by its own configuration.")
def finetune(
    task: str,
    name: str | None,
    origin: Path | None,
    out: Path | None,
    overrides: tuple[str, ...],
    published: bool,
    resume: bool,
) -> None:
    """Fine-tune a policy for TASK by reinforcement learning.

    PPO over its denoising chain, or what `algorithm` says.
    """
    from d2ppo_core.finetune import run  # imports torch
    from d2ppo_core.finetune.runs import load_run

    section = "published" if published else "finetune"
    task, usual = named(task)
    if out is None:
        out = Path("runs") / f"{resolve(task, name, overrides, section).name}_tuned"
    started = read_started(out) if resume else Started(config=name or usual)
    if resume and (out / "config.yaml").is_file() and not ((name or published) and started.config):
        config = _of_task(task, load_kept_finetune_config(out / "config.yaml", overrides))
    else:  # one that is named must agree with the run, and with what that was started with
        config = resolve(task, name or started.config, (*started.overrides, *overrides), section)
    origin = origin or started.data_path or Path("runs") / config.name
    cloned = load_run(out if resume else origin).origin
    worlds = worlds_of(
        config,
        image_size_px=cloned.shapes.camera_hw,
        action_representation=cloned.config.data.action_representation,
    )
    started = started.again(name, overrides)
    outcome = run.finetune(config, origin, worlds, out, resume=resume, started=started)
    state = f"{outcome.iteration} iterations, {outcome.env_steps} control steps, {outcome.elapsed_s:.0f} s"
    if outcome.finished:
        click.echo(f"{out}: finished after {state}, {_figures(outcome, config)}; next: d2ppo evaluate {task} {out}")
    else:
        click.echo(f"{out}: stopped and saved after {state}; continue with --resume")


if __name__ == "__main__":
    finetune()
