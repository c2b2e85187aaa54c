"""Declares a node's parameters from its table: with types, ranges and the moment until which each may still change."""

from collections.abc import Callable, Mapping

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter as RosParameter

from d2ppo_core.errors import ConfigError
from d2ppo_core.stack.parameters import ROS_PARAMETERS, Parameter, parameter_named

_WHEN = {
    "never": "fixed when the process starts",
    "unconfigured": "takes effect at configure",
    "always": "may be changed at any time",
}


def declare(node: LifecycleNode, table: Mapping[str, Parameter], is_configured: Callable[[], bool]) -> None:
    """Declare every parameter of a table, and refuse from then on what could not take effect.

    Args:
        node: made with ``automatically_declare_parameters_from_overrides``, so that what it was started with is known.
        table: its parameters.
        is_configured: tells whether most values have been read already.

    Raises:
        ConfigError: the node was started with a parameter that it does not have, or a value that is not allowed.
    """
    given = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix("")}
    for name in given:
        if not name.startswith("qos_overrides."):
            parameter_named(name, {**ROS_PARAMETERS, **table})
    for name, parameter in table.items():
        value = parameter.checked(given.get(name, parameter.default))
        if name in given:
            node.undeclare_parameter(name)
        empty = value == []  # ROS cannot tell what an empty list holds
        node.declare_parameter(
            name, RosParameter.Type.DOUBLE_ARRAY if empty else value, _descriptor(parameter), ignore_override=True
        )
    node.add_pre_set_parameters_callback(lambda parameters: [_in_type(table, given) for given in parameters])
    node.add_on_set_parameters_callback(lambda parameters: _judge(table, parameters, is_configured()))


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.description,
        read_only=parameter.changes == "never",
        additional_constraints=f"{parameter.wanted}; {_WHEN[parameter.changes]}",
    )
    if parameter.range is not None:
        low, high = parameter.range
        if isinstance(parameter.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _in_type(table: Mapping[str, Parameter], given: RosParameter) -> RosParameter:
    """Return a whole number as the number that the parameter is, as in ``ros2 param set … speed_scale 0``."""
    parameter = table.get(given.name)
    if parameter is None:
        return given
    try:
        value = parameter.checked(_value(given))
    except ConfigError:
        return given  # refused in a moment, with the reason
    kind = RosParameter.Type.DOUBLE_ARRAY if isinstance(value, list) else None
    return RosParameter(given.name, kind, value)


def _value(given: RosParameter) -> object:
    return list(given.value) if given.type_.value >= RosParameter.Type.BYTE_ARRAY.value else given.value


def _judge(table: Mapping[str, Parameter], parameters: list[RosParameter], is_configured: bool) -> SetParametersResult:
    for given in parameters:
        parameter = table.get(given.name)
        if parameter is None:
            continue
        try:
            parameter.checked(_value(given))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if is_configured and parameter.changes == "unconfigured":
            reason = f"parameter {given.name} takes effect at configure only: deactivate and clean up the node first"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)
