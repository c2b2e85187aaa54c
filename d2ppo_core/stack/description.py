"""What a stack consists of, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from d2ppo_core.errors import ConfigError

ROS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
PLACEHOLDER = re.compile(r"\$\(([A-Za-z0-9_]+)\)")


@dataclass(frozen=True, kw_only=True)
class NodeDescription:
    """One node: which program it is and how it is parametrised.

    Raises:
        ConfigError: a name is not a valid ROS name.
    """

    name: str
    """ROS node name, unique in its namespace."""
    package: str
    """ROS package, and the Python package of the same name."""
    executable: str
    """Executable of the package, and the Python module of the same name."""
    namespace: str = ""
    """Namespace of its own, such as that of one of two arms; empty: the stack's."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    """The whole stack stops when this node dies."""

    def __post_init__(self) -> None:
        """Check the names before anything is started."""
        for what in ("name", "package", "executable"):
            value = getattr(self, what)
            if not ROS_NAME.fullmatch(value):
                raise ConfigError(f"{what} of a node must be letters, digits and underscores, got {value!r}")
        if self.namespace and not ROS_NAME.fullmatch(self.namespace):
            raise ConfigError(f"namespace of {self.name} must be one ROS name without slashes, got {self.namespace!r}")

    @property
    def label(self) -> str:
        """What the node is called in logs and overrides: its name, after its own namespace if it has one."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, kw_only=True)
class StackDescription:
    """A list of nodes, under one namespace unless they have their own. They start in this order and stop backwards.

    Raises:
        ConfigError: no nodes, a node twice, or a namespace that is not a ROS name.
    """

    name: str
    namespace: str
    nodes: tuple[NodeDescription, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What a caller may choose, with defaults; parameters refer to them as ``$(argument)``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every node; what the caller's environment sets already wins."""

    def __post_init__(self) -> None:
        """Check the list as a whole."""
        if not ROS_NAME.fullmatch(self.namespace):
            raise ConfigError(f"namespace must be one ROS name without slashes, got {self.namespace!r}")
        names = [node.label for node in self.nodes]
        if not names:
            raise ConfigError(f"stack {self.name!r} lists no nodes")
        if len(set(names)) != len(names):
            raise ConfigError(f"stack {self.name!r} lists a node twice: {', '.join(names)}")

    def resolved(self, overrides: Mapping[str, Any] | None = None) -> StackDescription:
        """Return the stack with every ``$(argument)`` filled in and the overrides applied.

        Args:
            overrides: ``argument`` or ``node.parameter`` -> value; a node is named by its label.

        Raises:
            ConfigError: an override names no argument or node, or a placeholder no argument.
        """
        arguments = dict(self.arguments)
        per_node: dict[str, dict[str, Any]] = {node.label: {} for node in self.nodes}
        for key, value in (overrides or {}).items():
            node, _, parameter = key.partition(".")
            if parameter and node in per_node:
                per_node[node][parameter] = value
            elif not parameter and key in arguments:
                arguments[key] = value
            else:
                wanted = [*arguments, *(f"{name}.<parameter>" for name in per_node)]
                raise ConfigError(f"stack {self.name!r} has no {key!r}; wanted one of {', '.join(wanted)}")
        nodes = tuple(
            replace(node, parameters={**_filled(node, arguments), **per_node[node.label]}) for node in self.nodes
        )
        return replace(self, nodes=nodes, arguments=arguments)


def _filled(node: NodeDescription, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the node's parameters with placeholders replaced by the arguments' values, types kept."""
    filled = {}
    for key, value in node.parameters.items():
        match = PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
        if match and match[1] not in arguments:
            raise ConfigError(f"{node.label}.{key} refers to $({match[1]}), which is not an argument of the stack")
        filled[key] = arguments[match[1]] if match else value
    return filled
