"""Entry point of ``d2ppo``: finds its verbs among the installed packages and turns errors into one line."""

import os
import sys
from importlib.metadata import entry_points, version
from typing import Any

import click

from d2ppo_core.environment import check_renderer, prepare, refusal
from d2ppo_core.errors import ConfigError, D2ppoError
from d2ppo_core.extras import how_to_get
from d2ppo_core.interrupt import INTERRUPTED, listen, was_interrupted
from d2ppo_core.stack.ros_packages import FIX, missing_ros
from d2ppo_core.stack.ros_packages import VERBS as ROS_VERBS

VERBS = "d2ppo.commands"
"""Entry-point group: every installed package may add verbs, so the core needs to import none of them."""

DRAWING = ("sim.",)
"""Modules whose verbs load MuJoCo; `up` asks by its stack."""


class VerbGroup(click.Group):
    """A command group whose verbs are entry points, imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs, also of those whose ROS package is still to be built."""
        return sorted({point.name for point in entry_points(group=VERBS)} | {*ROS_VERBS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb, or one that says what this one lacks; None when there is no such verb."""
        if cmd_name in ROS_VERBS and (lack := missing_ros()):
            return absent_verb(cmd_name, f"Not built yet; run: {FIX}.", lack)
        for point in entry_points(group=VERBS, name=cmd_name):
            try:
                command: click.Command = point.load()
            except ModuleNotFoundError as error:
                if not (lack := how_to_get(error.name or "")):
                    raise
                return absent_verb(cmd_name, f"Not here yet: {lack.partition(';')[0]}.", lack)
            listen()
            return command
        return None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; Ctrl-C is one line and exit code 130, wherever it comes."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if isinstance(error, D2ppoError) or not was_interrupted(error):
                raise
        click.echo("d2ppo: interrupted", err=True)
        ctx.exit(INTERRUPTED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As `click.Group.resolve_command`. Raises WorldError where a verb cannot draw in this environment."""
        for point in entry_points(group=VERBS, name=args[0]):
            if point.value.startswith(DRAWING) and not {"-h", "--help"} & {*args}:
                check_renderer(os.environ)
        return super().resolve_command(ctx, args)


def absent_verb(name: str, text: str, lack: str) -> click.Command:
    """Return a verb that stands for one that cannot be imported, takes any arguments and ends with what it lacks."""

    def refuse(**_: object) -> None:
        raise ConfigError(f"{name}: {lack}")

    anything = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    taking_all = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, context_settings=taking_all, callback=refuse, params=[anything], help=text, epilog=lack)


@click.command(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("d2ppo-panda"), prog_name="d2ppo")
def cli() -> None:
    """Train diffusion policies with D²PPO and run them on a Franka Panda, real or simulated."""


def main() -> None:
    """Run the command line; a user's error is one line on stderr and exit code 2, a full disk one and exit code 1."""
    prepare()
    try:
        cli(standalone_mode=True)
    except D2ppoError as error:
        print(f"d2ppo: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if not (lack := how_to_get(error.name or "")):
            raise
        print(f"d2ppo: {lack}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if not (said := refusal(error)):
            raise
        print(f"d2ppo: {said}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
