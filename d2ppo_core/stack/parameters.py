"""Parameters of a node as data: one table per executable, read by the node itself and by whoever starts it.

A package of nodes keeps them in its folder ``parameters``: ``<executable>.yaml``, and ``every_node.yaml`` for what all
of them have. Each line is ``name: {default, description, range, choices, size, changes}``; only the first two are
required, and the type is that of the default.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml

from d2ppo_core.errors import ConfigError

CHANGES = ("never", "unconfigured", "always")
COMMON = "every_node"
_KEYS = ("default", "description", "range", "choices", "size", "changes")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a node.

    Raises:
        ConfigError: the line of the table contradicts itself.
    """

    name: str
    default: Any
    """True or false, a whole number, a number, a text, or a list of numbers; its type is the parameter's."""
    description: str
    range: tuple[float, float] | None = None
    """Least and greatest value, both allowed."""
    choices: tuple[Any, ...] = ()
    """The only values allowed; none: all."""
    size: int = 0
    """Numbers in a list; an empty one stands for what the node knows otherwise."""
    changes: Literal["never", "unconfigured", "always"] = "unconfigured"
    """Until when a new value can still take effect."""

    def __post_init__(self) -> None:
        """Check the default against its own line."""
        if self.changes not in CHANGES:
            raise ConfigError(f"parameter {self.name}: changes must be one of {', '.join(CHANGES)}")
        self.checked(self.default)

    @property
    def wanted(self) -> str:
        """What a value must be, as a message says it."""
        if self.choices:
            return f"one of {', '.join(repr(choice) for choice in self.choices)}"
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text (in quotes)"}
        words = kinds.get(type(self.default), f"{self.size} numbers")
        return words + (f" in [{self.range[0]}, {self.range[1]}]" if self.range else "")

    def checked(self, value: Any) -> Any:
        """Return ``value`` in the parameter's type: whole numbers pass as numbers, and numbers without a rest as whole.

        Raises:
            ConfigError: another type, out of range, not a choice, or a list of another length.
        """
        taken = self._converted(value)
        outside = self.range is not None and not self.range[0] <= taken <= self.range[1] if taken is not None else True
        if outside or (self.choices and taken not in self.choices):
            raise ConfigError(f"parameter {self.name} must be {self.wanted}, got {value!r}")
        return taken

    def _converted(self, value: Any) -> Any:
        """Return the value in the parameter's type, None when it is of another."""
        kind = type(self.default)
        if kind is list:
            return self._numbers(value)
        if kind in (int, float) and _is_number(value) and (kind is float or float(value).is_integer()):
            return kind(value)
        return value if type(value) is kind else None

    def _numbers(self, value: Any) -> list[float] | None:
        if not isinstance(value, (list, tuple)) or not all(_is_number(item) for item in value):
            return None
        if len(value) != self.size and not (len(value) == 0 and self.default == []):
            raise ConfigError(f"parameter {self.name} needs {self.size} numbers, got {len(value)}")
        return [float(item) for item in value]

    def read(self, text: str) -> Any:
        """Return the value that ``text`` stands for, as a command line carries it; a text is taken as it is.

        Raises:
            ConfigError: as ``checked``.
        """
        if isinstance(self.default, str):
            return self.checked(text)
        try:
            return self.checked(yaml.safe_load(text))
        except yaml.YAMLError:
            raise ConfigError(f"parameter {self.name} must be {self.wanted}, got {text!r}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


ROS_PARAMETERS = {
    "use_sim_time": Parameter(
        name="use_sim_time", default=False, description="follow /clock instead of the machine's clock", changes="always"
    ),
    "start_type_description_service": Parameter(
        name="start_type_description_service", default=True, description="ROS's own", changes="never"
    ),
}
"""What every ROS node declares without being asked."""


@functools.cache
def parameter_table(package: str, executable: str) -> Mapping[str, Parameter] | None:
    """Return the parameters of a program by name; None when its package keeps no table of it, as foreign ones.

    Raises:
        ConfigError: the table is broken.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "parameters" / f"{executable}.yaml"
        if path.is_file():
            common = path.with_name(f"{COMMON}.yaml")
            return MappingProxyType({**(read_table(common) if common.is_file() else {}), **read_table(path)})
    return None


def read_table(path: Path) -> dict[str, Parameter]:
    """Return the parameters of one file by name.

    Raises:
        ConfigError: a line is not one of a table.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    table: dict[str, Parameter] = {}
    for name, line in (content or {}).items():
        if not isinstance(line, dict) or not {"default", "description"} <= set(line) <= set(_KEYS):
            raise ConfigError(f"{path}: {name} must have default and description, and may have {', '.join(_KEYS[2:])}")
        lists = {key: tuple(line[key]) for key in ("range", "choices") if key in line}
        table[name] = Parameter(name=name, **(line | lists))
    return table


def parameter_named(name: str, known: Mapping[str, Parameter]) -> Parameter:
    """Return one parameter of a table.

    Raises:
        ConfigError: there is none of this name; the message names the likeliest ones.
    """
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=2)
    cure = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(known))}"
    raise ConfigError(f"there is no parameter {name}; {cure}")
