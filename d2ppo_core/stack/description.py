"""What a stack consists of, as plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.values import checked_parameters, like

ROS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
PLACEHOLDER = re.compile(r"\$\(([A-Za-z0-9_]+)\)")
NAMESPACE = "namespace"
"""Stands for the stack's namespace wherever an argument may stand; every stack lets its caller choose it."""


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
    when: str = ""
    """Argument of the stack without which (empty, false) the node is left out; empty: it always runs."""

    def __post_init__(self) -> None:
        """Check the names before anything is started."""
        for what in ("name", "package", "executable"):
            value = getattr(self, what)
            if not ROS_NAME.fullmatch(value):
                raise ConfigError(f"{what} of a node must be letters, digits and underscores, got {value!r}")
        if self.namespace and not (ROS_NAME.fullmatch(self.namespace) or PLACEHOLDER.fullmatch(self.namespace)):
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
        if NAMESPACE in self.arguments:
            raise ConfigError(f"{NAMESPACE} is an argument of every stack; its default stands at the top of the file")
        names = [node.label for node in self.nodes]
        if not names:
            raise ConfigError(f"stack {self.name!r} lists no nodes")
        if len(set(names)) != len(names):
            raise ConfigError(f"stack {self.name!r} lists a node twice: {', '.join(names)}")

    def resolved(self, overrides: Mapping[str, Any] | None = None) -> StackDescription:
        """Return the stack with every ``$(argument)`` filled in, the overrides applied and all parameters checked.

        Args:
            overrides: ``argument``, ``namespace`` or ``node.parameter`` -> value; a node is named by its label. A text
                is read as what the argument or parameter is: a number, a list, true or false.

        Raises:
            ConfigError: an override names no argument, node or parameter, a value is of another type or out of range,
                or a placeholder names no argument.
        """
        arguments, namespace = dict(self.arguments), self.namespace
        per_node: dict[str, dict[str, Any]] = {}
        for key, value in (overrides or {}).items():
            node, _, parameter = key.rpartition(".")
            if node and parameter:
                per_node.setdefault(node, {})[parameter] = value
            elif key == NAMESPACE:
                namespace = str(value)
            elif key in arguments:
                arguments[key] = like(key, self.arguments[key], value)
            else:
                raise ConfigError(self._no_such(key, self.nodes))
        if foreign := [node.when for node in self.nodes if node.when and node.when not in arguments]:
            raise ConfigError(f"when: {foreign[0]} is not an argument of the stack")
        wanted = [node for node in self.nodes if not node.when or arguments[node.when]]
        filled = [_filled(node, {**arguments, NAMESPACE: namespace}) for node in wanted]
        for name in per_node:
            if name not in {node.label for node in filled}:
                raise ConfigError(self._no_such(f"{name}.{next(iter(per_node[name]))}", filled))
        nodes = tuple(
            replace(
                node, parameters=checked_parameters(node.label, node.package, node.executable, node.parameters, own)
            )
            for node in filled
            for own in [per_node.get(node.label, {})]
        )
        return replace(self, nodes=nodes, arguments=arguments, namespace=namespace)

    @property
    def arms(self) -> tuple[str, ...]:
        """Namespaces of the arm nodes, in the order of the list."""
        return tuple(node.namespace or self.namespace for node in self.nodes if node.executable == "arm_node")

    @property
    def world_address(self) -> str:
        """Address of the simulated world's first robot; empty for a stack without a world."""
        return next((str(n.parameters["robot_address"]) for n in self.nodes if n.executable == "sim_node"), "")

    def _no_such(self, key: str, nodes: Iterable[NodeDescription]) -> str:
        wanted = [*self.arguments, NAMESPACE, *(f"{node.label}.<parameter>" for node in nodes)]
        return f"stack {self.name!r} has no {key!r}; wanted one of {', '.join(wanted)}"


def _filled(node: NodeDescription, arguments: Mapping[str, Any]) -> NodeDescription:
    """Return the node with placeholders replaced by the arguments' values; where one stands alone its type is kept."""

    def fill(where: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for name in PLACEHOLDER.findall(value):
            if name not in arguments:
                raise ConfigError(f"{node.name}.{where} refers to $({name}), which is not an argument of the stack")
        alone = PLACEHOLDER.fullmatch(value)
        return arguments[alone[1]] if alone else PLACEHOLDER.sub(lambda found: str(arguments[found[1]]), value)

    return replace(
        node,
        namespace=str(fill("namespace", node.namespace)),
        parameters={key: fill(key, value) for key, value in node.parameters.items()},
        remappings={key: str(fill(f"remappings.{key}", value)) for key, value in node.remappings.items()},
    )
