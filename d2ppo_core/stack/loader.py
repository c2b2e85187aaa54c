"""Reads a stack file: strict, so that a typing error is an error and not a silently ignored line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from d2ppo_core.errors import ConfigError
from d2ppo_core.shipped import named_file
from d2ppo_core.stack.description import NAMESPACE, NodeDescription, StackDescription
from d2ppo_core.stack.values import SCALARS, like
from d2ppo_core.yaml_file import read_yaml

STACK_KEYS = ("namespace", "arguments", "instead", "environment", "parameters", "nodes")
NODE_KEYS = ("name", "namespace", "package", "executable", "parameters", "remappings", "required", "when")


def load_stack(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> StackDescription:
    """Return the stack of a file, with placeholders filled in and ``overrides`` applied.

    A file may name another one to take where an argument has a certain value: ``instead: {task: {transport: …}}``. What
    was chosen goes there too, but for what is this file's default anyhow.

    Raises:
        ConfigError: the file is missing, is not YAML, or has an unknown key or a value of a wrong type.
    """
    path = named_file("stack", name_or_path)
    content = read_yaml(path)
    try:
        stack = _stack(path.stem, content)
        if other := _instead(content, stack, overrides or {}):
            return load_stack(other, _beyond_defaults(stack, overrides or {}))
        return stack.resolved(overrides)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _stack(name: str, content: object) -> StackDescription:
    fields = _mapping(content, "a stack", STACK_KEYS)
    common = _values(fields.get("parameters"), "parameters")
    nodes = fields.get("nodes")
    if not isinstance(nodes, list):
        raise ConfigError("nodes must be a list")
    return StackDescription(
        name=name,
        namespace=_text(fields, "namespace", "the stack"),
        arguments=_values(fields.get("arguments"), "arguments"),
        environment=_texts(fields.get("environment"), "environment"),
        nodes=tuple(_node(node, common) for node in nodes),
    )


def _instead(content: object, stack: StackDescription, overrides: Mapping[str, Any]) -> str:
    """Name of the stack to take instead; empty for this one."""
    fields = content if isinstance(content, dict) else {}
    choices = _mapping(fields.get("instead") or {}, "instead", tuple(stack.arguments))
    for argument, others in choices.items():
        names = _texts(others, f"instead: {argument}")
        if (value := str(overrides.get(argument, stack.arguments[argument]))) in names:
            return str(names[value])
    return ""


def _beyond_defaults(stack: StackDescription, overrides: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {**stack.arguments, NAMESPACE: stack.namespace}
    return {
        key: value
        for key, value in overrides.items()
        if key not in defaults or like(key, defaults[key], value) != defaults[key]
    }


def _node(content: object, common: Mapping[str, Any]) -> NodeDescription:
    fields = _mapping(content, "a node", NODE_KEYS)
    name = _text(fields, "name", "a node")
    required = fields.get("required", True)
    if not isinstance(required, bool):
        raise ConfigError(f"required of {name} must be true or false, got {required!r}")
    return NodeDescription(
        name=name,
        namespace=_text(fields, "namespace", name) if "namespace" in fields else "",
        package=_text(fields, "package", name),
        executable=_text(fields, "executable", name),
        parameters={**common, **_values(fields.get("parameters"), f"parameters of {name}")},
        remappings=_texts(fields.get("remappings"), f"remappings of {name}"),
        required=required,
        when=_text(fields, "when", name) if "when" in fields else "",
    )


def _mapping(content: object, what: str, allowed: Iterable[str] | None = None) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{what} must be a mapping, got {type(content).__name__}")
    unknown = sorted(set(content) - set(allowed)) if allowed is not None else []
    if unknown:
        raise ConfigError(f"{what} has unknown keys {', '.join(unknown)}; allowed: {', '.join(allowed or ())}")
    return content


def _text(fields: Mapping[str, Any], key: str, owner: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"{key} of {owner} must be a text, got {value!r}")
    return value


def _texts(content: object, what: str) -> dict[str, str]:
    fields = _mapping({} if content is None else content, what)
    for key, value in fields.items():
        if not isinstance(value, str):
            raise ConfigError(f"{what}: {key} must be a text (in quotes), got {value!r}")
    return fields


def _values(content: object, what: str) -> dict[str, Any]:
    """Return a mapping whose values ROS parameters can hold: scalars and lists of scalars of one type."""
    fields = _mapping({} if content is None else content, what)
    for key, value in fields.items():
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, SCALARS) for item in items) or len({type(item) for item in items}) > 1:
            raise ConfigError(f"{what}: {key} must be a scalar or a list of scalars of one type, got {value!r}")
    return fields
