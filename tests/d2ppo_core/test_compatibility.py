"""The table of clients and robots, and whoever repeats it: the documents, the pins, what is installed."""

import tomllib
from pathlib import Path

import pytest

from d2ppo_core.compatibility import (
    FRANKA_RS,
    FRANKY,
    client_named,
    explain_mismatch,
    franky_page,
    franky_speaks,
    newest_server,
    servers,
)
from d2ppo_core.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_the_page_for_people_has_every_row():
    page = (ROOT / "docs/lab/robot_client.md").read_text()
    for row in servers():
        command = f"d2ppo doctor --fix-client {row.robot}"
        if row != newest_server(row.robot):
            command += f" --server-version {row.server}"
        oldest, newest = row.libfranka
        robot = {"panda": "Panda (FER)", "fr3": "FR3"}[row.robot]
        releases = oldest if oldest == newest else f"{oldest} … {newest}"
        line = next(line for line in page.splitlines() if line.startswith(f"| {robot} | ≥ {row.system} |"))
        assert f"| {row.server} | {releases} |" in line and f"`{command}`" in line


def test_every_release_of_libfranka_belongs_to_one_server_version():
    for libfranka, server in (("0.9.2", 5), ("0.13.2", 6), ("0.13.3", 7), ("0.21.2", 10), ("0.10.0", 6)):
        assert [row.server for row in servers() if row.takes(libfranka)] == [server]


def test_the_clients_are_those_that_set_up_installs():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["franka"]
    for name in (FRANKY, FRANKA_RS):
        client = client_named(name)
        assert f"{client.package}=={client.version}" in extra


def test_the_installed_franky_is_one_that_the_table_knows():
    pytest.importorskip("franky")
    assert franky_speaks() in [row.server for row in servers()]


def test_a_robot_whose_client_is_on_pypi_needs_no_other_page():
    assert franky_page(newest_server("fr3").server) == ""
    assert franky_page(newest_server("panda").server).endswith("/by-robot-server-version/5/")
    with pytest.raises(ConfigError, match="robot: wanted one of fr3, panda, got 'ur5'"):
        newest_server("ur5")


def test_a_version_that_nobody_knows_is_told_with_the_page_to_read():
    assert explain_mismatch(99, None) == (
        "the robot speaks server version 99 (a robot that this version does not know), "
        "the installed franky another one; see docs/lab/robot_client.md"
    )
    assert FRANKA_RS not in explain_mismatch(7, 10)
