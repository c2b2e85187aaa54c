"""The pages: they build without a warning, and every command on them is one that the program takes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from d2ppo_core.cli.main import cli
from d2ppo_core.errors import D2ppoError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^[ ]*```bash\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def commands_of(text: str) -> list[list[str]]:
    """Return the words of every command in the bash blocks of a page, comments cut and continued lines joined."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line.rstrip(" &"), comments=True))]


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}")
    for page in PAGES
    for words in commands_of(page.read_text(encoding="utf-8"))
]


def refusal_of(words: list[str]) -> str:
    """Return why `d2ppo WORDS...` would not be understood; empty when it would. Files need not be there."""
    command: click.Command | None = cli
    context = click.Context(cli, info_name="d2ppo")
    while isinstance(command, click.Group):
        if not words:
            return "a verb is missing"
        name, *words = words
        if name in ("-h", "--help", "--version"):
            return ""
        command = command.get_command(context, name)
        if command is None:
            return f"no verb {name!r}"
    try:
        command.make_context(command.name, list(words), parent=context)
    except click.exceptions.Exit:  # --help
        return ""
    except click.BadParameter as error:
        return "" if isinstance(error.param and error.param.type, (click.Path, click.File)) else error.format_message()
    except click.UsageError as error:
        return error.format_message()
    except D2ppoError:
        return ""
    return ""


def verbs_of(command: click.Command, name: str) -> list[str]:
    """Return the full names of a command and of all below it."""
    if not isinstance(command, click.Group):
        return [name]
    context = click.Context(command, info_name=name)
    below = [(verb, command.get_command(context, verb)) for verb in command.list_commands(context)]
    return [full for verb, inner in below if inner is not None for full in verbs_of(inner, f"{name} {verb}")]


def test_there_are_commands_on_the_pages():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("words", COMMANDS)
def test_the_program_takes_every_command_on_a_page(words: list[str]):
    program, *rest = words
    if program in ("d2ppo", "./d2ppo"):
        assert refusal_of(rest) == ""
    elif program == "make" and "-C" not in rest:
        assert {word for word in rest if "=" not in word} <= TARGETS
    elif program in ("python", "bash", "tools/run.sh") and rest and "/" in rest[0]:
        assert (ROOT / rest[0]).is_file()


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("dance", "no verb 'dance'"),
        ("up --sett a=b", "No such option '--sett'"),
        ("evaluate lift x --episodes many", "not a valid integer"),
    ],
)
def test_a_command_that_the_program_would_not_take_is_found(line: str, refusal: str):
    assert refusal in refusal_of(shlex.split(line))


def ends_a_list_early(text: str) -> list[str]:
    """Return lines that belong to a list's item for GitHub, but not for the site, which wants four spaces for it."""
    return re.findall(r"\n\n( {1,3}\S.*)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", [page for page in PAGES if "docs" in page.parts], ids=lambda page: page.stem)
def test_what_belongs_to_a_list_stays_in_it_on_the_site(page: Path):
    assert ends_a_list_early(page.read_text(encoding="utf-8")) == []


def test_a_block_that_would_end_a_list_early_is_found():
    assert ends_a_list_early("1. Do\n\n   ```bash\n   d2ppo up sim\n   ```\n2. See\n") == ["   ```bash"]
    assert ends_a_list_early("1. Do\n   more\n\n```text\na\n\n b\n```\n\n    four\n") == []


def test_the_pages_build_without_a_warning(tmp_path: Path):
    pytest.importorskip("mkdocs", reason="needs the extra docs: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    page = (tmp_path / "reference" / "command_line.html").read_text(encoding="utf-8")
    assert "--episodes" in page
    assert [verb for verb in verbs_of(cli, "d2ppo") if f"{verb} [OPTIONS]" not in page] == [], (
        "verbs that the page lacks"
    )
    outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page)
    assert outside == [], "pages load something from elsewhere"
