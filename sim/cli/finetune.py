"""`d2ppo finetune`: optimise a cloned policy by PPO in batched worlds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from d2ppo_core.config import FinetuneConfig, load_finetune_config
from d2ppo_core.errors import ConfigError
from d2ppo_core.representations import OSC_DELTA

if TYPE_CHECKING:
    from d2ppo_core.finetune.collector import MakeEnv
    from sim.camera import PictureSize


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
    from sim.camera import height_and_width

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
            randomisation=config.env.randomisation if training else None,
            action_representation=action_representation,
        )

    return make


@click.command()
@click.argument("task")
@click.option("--config", "name", help="Shipped name or YAML file with a section `finetune`; default: <task>_state.")
@click.option("--origin", type=click.Path(path_type=Path), help="Folder of the pre-training; default: runs/<config>.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; default: runs/<config>_tuned.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, e.g. ppo.epochs=5.")
@click.option("--published", is_flag=True, help="The paper's settings instead of the recommended ones.")
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
    """Fine-tune a policy for TASK by PPO over its denoising chain."""
    from d2ppo_core.finetune import run  # imports torch
    from d2ppo_core.runs import load_run

    own = (out or Path("runs") / f"{task}_state_tuned") / "config.yaml"
    if resume and name is None and not published and own.is_file():
        name = str(own)
    section = "published" if published else "finetune"
    config = load_finetune_config(name or f"{task}_state", overrides, section=section)
    if config.task != task:
        raise ConfigError(f"{config.name}: wanted a configuration for {task}, got one for {config.task}")
    origin = origin or Path("runs") / config.name
    out = out or Path("runs") / f"{config.name}_tuned"
    cloned = load_run(out if resume else origin).origin
    worlds = worlds_of(
        config,
        image_size_px=cloned.shapes.camera_hw,
        action_representation=cloned.config.data.action_representation,
    )
    outcome = run.finetune(config, origin, worlds, out, resume=resume)
    state = f"{outcome.iteration} iterations, {outcome.env_steps} control steps, {outcome.elapsed_s:.0f} s"
    if outcome.finished:
        click.echo(f"{out}: finished after {state}, success {outcome.success:.1%}; next: d2ppo evaluate {task} {out}")
    else:
        click.echo(f"{out}: stopped and saved after {state}; continue with --resume")


if __name__ == "__main__":
    finetune()
