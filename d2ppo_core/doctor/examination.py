"""Which checks a stack needs."""

from __future__ import annotations

from collections.abc import Iterator

from d2ppo_core.doctor import devices, host, robot, ros
from d2ppo_core.doctor.calibrations import check_calibrations
from d2ppo_core.doctor.finding import Finding
from d2ppo_core.stack.description import StackDescription
from d2ppo_core.stack.environment import stack_environment


def examine(stack: StackDescription) -> Iterator[Finding]:
    """Yield one finding after the other; a stack with a ``sim_node`` brings its own robot and needs no camera."""
    environment = stack_environment(stack)
    simulated = any(node.executable == "sim_node" for node in stack.nodes)
    address = str(stack.arguments.get("robot_address", "127.0.0.1"))
    yield host.check_python()
    yield host.check_debian_packages()
    yield host.check_shared_memory()
    yield ros.check_rclpy(environment)
    yield ros.check_interfaces(environment)
    yield ros.check_nodes(environment)
    yield robot.check_client()
    if simulated:
        yield devices.check_rendering(environment)
        yield robot.check_ports_free(address)
    else:
        yield robot.check_robot_answers(address)
    if "bundle" in stack.arguments:
        yield devices.check_bundle(str(stack.arguments["bundle"]), str(stack.arguments.get("task", "")), environment)
    yield devices.check_realsense(environment, required=not simulated)
    yield from check_calibrations()
    yield host.check_realtime_kernel()
    yield host.check_processor()
