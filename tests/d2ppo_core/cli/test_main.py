"""The command line as a whole: what a newcomer reads first."""

from collections.abc import Iterator

import click
import pytest

from d2ppo_core.cli.main import cli

WIDTH = 80


def groups(command: click.Command, name: str = "d2ppo") -> Iterator[tuple[str, click.Group]]:
    if isinstance(command, click.Group):
        yield name, command
        context = click.Context(command)
        for verb in command.list_commands(context):
            found = command.get_command(context, verb)
            assert found is not None, f"{name} {verb} is listed and not there"
            yield from groups(found, f"{name} {verb}")


@pytest.mark.parametrize(
    ("name", "group"), list(groups(cli)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_verbs_help_is_cut_on_a_narrow_terminal(name: str, group: click.Group) -> None:
    text = group.get_help(click.Context(group, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH))
    verbs = text.partition("Commands:")[2].strip().splitlines()
    assert len(verbs) == len(group.list_commands(click.Context(group)))  # none needs a second line
    assert [line for line in verbs if line.rstrip().endswith("...")] == []
    assert [line for line in verbs if len(line.split()) < 4] == []  # a name and at least three words
