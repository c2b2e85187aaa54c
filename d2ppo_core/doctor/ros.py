"""ROS 2: the client library, the project's own interfaces and nodes."""

from __future__ import annotations

from collections.abc import Mapping

from d2ppo_core.doctor.finding import Finding, fail, ok, run_python
from d2ppo_core.extras import install_line
from d2ppo_core.stack.ros_packages import FIX, other_version

RCLPY = """
import rclpy
rclpy.init()
node = rclpy.create_node("d2ppo_doctor")
node.destroy_node()
rclpy.shutdown()
print(rclpy.utilities.get_rmw_implementation_identifier())
"""
INTERFACES = """
from d2ppo_interfaces.msg import ActionChunk
from rclpy.type_support import check_for_type_support
check_for_type_support(ActionChunk)
print("d2ppo_interfaces built")
"""
NODES = "import d2ppo_nodes; print(d2ppo_nodes.__path__[0])"


def check_rclpy(environment: Mapping[str, str]) -> Finding:
    """A node can be made and ended."""
    good, text = run_python(RCLPY, environment)
    if good:
        return ok("ROS 2", f"rclpy with {text}")
    return fail("ROS 2", f"rclpy does not work ({text}); run: {install_line('ros')}, or source your ROS 2 install")


def check_interfaces(environment: Mapping[str, str]) -> Finding:
    """The project's messages were built for this Python."""
    good, text = run_python(INTERFACES, environment)
    if good:
        return ok("ROS interfaces", text)
    return fail("ROS interfaces", f"d2ppo_interfaces is not built here ({text}); run: {FIX}")


def check_nodes(environment: Mapping[str, str]) -> Finding:
    """The package of the nodes is on the path."""
    good, text = run_python(NODES, environment)
    if not good:
        return fail("ROS nodes", f"d2ppo_nodes is not installed here ({text}); run: {FIX}")
    if old := other_version():
        return fail("ROS nodes", old)
    return ok("ROS nodes", "d2ppo_nodes found")
