"""`d2ppo pretrain`: clone demonstrations into a diffusion policy."""

from pathlib import Path

import click

from d2ppo_core.config import PretrainConfig, Started, load_config, load_kept_config, read_started
from d2ppo_core.config.load import built_in_names
from d2ppo_core.errors import ConfigError
from d2ppo_core.task_folders import known_tasks, named


@click.command()
@click.argument("task")
@click.option("--config", help="Shipped configuration or YAML file.  [default: <task>_state]")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Dataset in robomimic's HDF5 layout.  [default: data/<task>.hdf5; with --resume that of the run]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/<configuration>]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, e.g. optim.lr=1e-4.")
@click.option("--resume", is_flag=True, help="Continue the run in --out exactly, by its own configuration and data.")
def pretrain(
    task: str, config: str | None, data: Path | None, out: Path | None, overrides: tuple[str, ...], resume: bool
) -> None:
    """Clone demonstrations of TASK into a diffusion policy.

    TASK is lift, can, square or transport, or the path of the folder of a task of your own.

    Several processes, each on its own GPU with optim.device=cuda, share every batch under torchrun:
    torchrun --nproc-per-node 2 -m d2ppo_core.cli.main pretrain lift
    """
    task, usual = named(task)
    out = out or Path("runs") / resolve(task, config, overrides).name
    started = read_started(out) if resume else Started(config=config or usual)
    resolved = _resumed(task, config, overrides, out, started) if resume else resolve(task, config, overrides)
    from d2ppo_core.pretrain import device, run  # imports torch

    if hint := device.advice(resolved.optim):
        click.echo(f"d2ppo: {hint}", err=True)
    data = data or started.data_path or Path(f"data/{task}.hdf5")
    started = started.again(config, overrides)
    outcome = run.pretrain(resolved, data, out, resume=resume, started=started)
    if not outcome.leads:
        return
    if outcome.finished:
        click.echo(f"{out}: finished at step {outcome.step} after {outcome.elapsed_s:.0f} s; next: d2ppo export {out}")
    else:
        click.echo(f"{out}: stopped and saved at step {outcome.step}; continue with --resume")


def _resumed(task: str, config: str | None, overrides: tuple[str, ...], out: Path, started: Started) -> PretrainConfig:
    """The configuration of the run in `out`; where one is named, that with what the run was started with.

    The checkpoint then refuses what contradicts it, with both values.
    """
    own = out / "config.yaml"
    if not own.is_file() or (config and started.config):
        return resolve(task, config, (*started.overrides, *overrides))
    return _of_task(task, str(own), load_kept_config(own, overrides))


def resolve(task: str, config: str | None, overrides: tuple[str, ...]) -> PretrainConfig:
    """The configuration that a command line asks for. Raises ConfigError when it is none, or of another task."""
    task, usual = named(task)
    if not (config or usual):
        hint = "name the configuration of your own task by --config, or the path of its folder as TASK"
        if task in built_in_names():
            hint = f"did you mean: d2ppo pretrain {load_config(task).task} --config {task}"
        raise ConfigError(f"unknown task {task!r}; known are {', '.join(known_tasks())}; {hint}")
    return _of_task(task, config, load_config(config or usual, overrides))


def _of_task(task: str, config: str | None, resolved: PretrainConfig) -> PretrainConfig:
    if resolved.task != task:
        place = config or resolved.name
        raise ConfigError(f"{place}: wanted a configuration of task {task!r}, got one of {resolved.task!r}")
    return resolved


if __name__ == "__main__":
    pretrain()
