"""Values that a stack file or a command line gives to arguments and parameters, in the types that these have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.parameters import ROS_PARAMETERS, Parameter, parameter_named, parameter_table

SCALARS = (str, bool, int, float)


def like(name: str, default: Any, value: Any) -> Any:
    """Return an argument's value in the type of its default; a text is read as that type.

    Raises:
        ConfigError: it cannot be one.
    """
    if isinstance(default, list):
        return plain(name, value)
    argument = Parameter(name=name, default=default, description="")
    try:
        return argument.read(value) if isinstance(value, str) else argument.checked(value)
    except ConfigError:
        raise ConfigError(f"argument {name} must be {argument.wanted}, got {value!r}") from None


def checked_parameters(
    label: str, package: str, executable: str, given: Mapping[str, Any], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of one node, each of which exists and is allowed, in its own type.

    Args:
        label: what messages call the node.
        package: of the node; without a table of its parameters everything that ROS can hold is taken.
        executable: of the node.
        given: values of the stack file.
        chosen: values of the caller, which win; a text is read as what the parameter is.

    Raises:
        ConfigError: no such parameter, or a value that it does not allow.
    """
    table = parameter_table(package, executable)
    if table is None:
        return {**given, **{name: plain(f"{label}.{name}", value) for name, value in chosen.items()}}
    known = {**ROS_PARAMETERS, **table}
    try:
        taken = {
            **{name: parameter_named(name, known).checked(value) for name, value in given.items()},
            **{name: _chosen(parameter_named(name, known), value) for name, value in chosen.items()},
        }
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from None
    return {name: value for name, value in taken.items() if value != []}  # left open; rcl reads no empty list


def _chosen(parameter: Parameter, value: Any) -> Any:
    return parameter.read(value) if isinstance(value, str) else parameter.checked(value)


def plain(name: str, value: Any) -> Any:
    """Return a value of a parameter that nobody describes; a text is read as YAML.

    Raises:
        ConfigError: it is neither a scalar nor a list of scalars of one type.
    """
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"{name}: {value!r} is not a YAML value") from None
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, SCALARS) for item in items) or len({type(item) for item in items}) > 1:
        raise ConfigError(f"{name} must be a scalar or a list of scalars of one type, got {value!r}")
    return value
