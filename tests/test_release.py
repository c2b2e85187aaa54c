"""One version everywhere, and a changelog and a citation that are of it."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
PACKAGES = sorted((ROOT / "ros2_ws/src").glob("*/package.xml"))


def test_the_ros_packages_have_the_projects_version() -> None:
    assert len(PACKAGES) == 3
    assert {ElementTree.parse(path).findtext("version") for path in PACKAGES} == {VERSION}
    setup = (ROOT / "ros2_ws/src/d2ppo_nodes/setup.py").read_text(encoding="utf-8")
    assert re.findall(r'version="([^"]+)"', setup) == [VERSION]


def releases() -> list[tuple[str, str]]:
    """Return version and date of every release in the changelog, the newest first."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"^## \[([^\]]+)\](?: - (\S+))?$", text, re.MULTILINE)


def test_the_changelog_begins_with_what_is_to_come_and_then_has_this_version_with_its_date() -> None:
    (unreleased, none), (version, date), *_ = releases()
    assert (unreleased, none, version) == ("Unreleased", "", VERSION)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)


def test_the_citation_is_of_this_version_and_day_and_has_what_the_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["cff-version"], citation["type"], citation["license"]) == ("1.2.0", "software", "MIT")
    assert (citation["version"], citation["date-released"]) == releases()[1]
    assert all("name" in author or {"given-names", "family-names"} <= set(author) for author in citation["authors"])
