"""Which client fits which robot: the table ``compatibility.yaml``, read, and what it says about this machine."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

import yaml

from d2ppo_core.errors import ConfigError

FRANKY, FRANKA_RS, AUTO = "franky", "franka_rs", "auto"
CLIENTS = (AUTO, FRANKY, FRANKA_RS)
_TABLE = Path(__file__).with_suffix(".yaml")

Release = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client as it is installed; ``servers`` are the versions that PyPI's wheel speaks."""

    name: str
    package: str
    version: str
    imports: str
    servers: tuple[int, ...]
    pages: str = ""

    @property
    def install_line(self) -> str:
        """What to run for PyPI's wheel."""
        return f"pip install {self.package}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class Server:
    """What speaks one version of the robot server; releases of libfranka as (major, minor, patch)."""

    server: int
    robot: str
    system: str
    libfranka: tuple[str, str]

    def takes(self, libfranka: str) -> bool:
        """Whether this release of libfranka speaks to it."""
        oldest, newest = (_release(text) for text in self.libfranka)
        return oldest <= _release(libfranka) <= newest


@cache
def servers() -> tuple[Server, ...]:
    """Every server version, the oldest first."""
    rows = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))["servers"]
    return tuple(Server(**row | {"libfranka": tuple(row["libfranka"])}) for row in rows)


@cache
def client_named(name: str) -> Client:
    """Return ``franky`` or ``franka_rs``."""
    row = dict(yaml.safe_load(_TABLE.read_text(encoding="utf-8"))["clients"][name])
    speaks = (row.pop("on_pypi"),) if "on_pypi" in row else row.pop("servers")
    return Client(name=name, servers=tuple(speaks), **row)


def newest_server(robot: str) -> Server:
    """Return the row of a robot with the newest system; ConfigError when nobody knows the robot."""
    rows = [row for row in servers() if row.robot == robot]
    if not rows:
        known = ", ".join(sorted({row.robot for row in servers()}))
        raise ConfigError(f"robot: wanted one of {known}, got {robot!r}")
    return rows[-1]


def franky_page(server: int) -> str:
    """Address of the package index with franky for a server version; empty where PyPI's own wheel fits."""
    franky = client_named(FRANKY)
    return "" if server in franky.servers else f"{franky.pages}/{server}/"


def installed_libfranka() -> str | None:
    """Return the version of the libfranka inside the installed franky; None when it cannot be told."""
    package = client_named(FRANKY).package
    try:
        names, found = [path.name for path in files(package) or []], version(package)
    except PackageNotFoundError:
        return None
    told = [match[1] for name in names if (match := re.search(r"libfranka[^/]*\.so\.(\d+\.\d+\.\d+)$", name))]
    told += re.findall(r"\+libfranka\.(\d+\.\d+\.\d+)$", found)  # a build of one's own: the library lies outside
    return told[0] if told else None


def franky_speaks() -> int | None:
    """Return the robot-server version that the installed franky speaks; None without one that the table knows."""
    libfranka = installed_libfranka()
    return next((row.server for row in servers() if libfranka and row.takes(libfranka)), None)


def franka_rs_installed() -> bool:
    """Whether the second client is there."""
    try:
        return bool(version(client_named(FRANKA_RS).package))
    except PackageNotFoundError:
        return False


def explain_mismatch(found: int, ours: int | None) -> str:
    """Say what a robot speaks, what the installed franky speaks, and the ways out."""
    row = next((row for row in servers() if row.server == found), None)
    whose = f"a {row.robot} of system {row.system} or newer" if row else "a robot that this version does not know"
    text = f"the robot speaks server version {found} ({whose}), the installed franky {ours or 'another one'}"
    ways = []
    if row:
        ways.append(f"run: d2ppo doctor --fix-client {row.robot}" + ("" if newest_server(row.robot) == row else
                    f" --server-version {found}"))  # fmt: skip
    if found in client_named(FRANKA_RS).servers:
        line = "" if franka_rs_installed() else f" after {client_named(FRANKA_RS).install_line}"
        ways.append(f"set client: {FRANKA_RS} in the cell file{line}")
    return f"{text}; {', or '.join(ways) or 'see docs/lab/robot_client.md'}"


def _release(text: str) -> Release:
    return tuple(int(part) for part in str(text).split("."))
