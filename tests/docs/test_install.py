"""What the pages on installing say: the extras that there are, and a wheel of the version that this is."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
START, INSTALL = (ROOT / "docs" / page for page in ("start.md", "lab/install.md"))


def test_the_table_of_extras_names_exactly_those_that_there_are() -> None:
    section = START.read_text(encoding="utf-8").partition("\n### Extras\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `([a-z]+)` \| (.*?) \|", section, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(PROJECT["optional-dependencies"])
    assert all(len(what) > 2 for _, what in rows)


def test_every_extra_in_a_command_on_the_pages_is_one() -> None:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    asked = [name for text in pages for names in re.findall(r"(?:\.whl|'\.|d2ppo-panda)\[([a-z,]+)\]", text)
             for name in names.split(",")]  # fmt: skip
    assert len(asked) > 10 and set(asked) <= set(PROJECT["optional-dependencies"])


def test_the_wheel_on_the_page_is_of_this_version() -> None:
    assert set(re.findall(r"d2ppo_panda-([0-9.]+)-py3", INSTALL.read_text(encoding="utf-8"))) == {PROJECT["version"]}
