"""What the arm node tells everybody: its state, and joint states, pose and wrench under the names of franka_ros2."""

import array

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState

from d2ppo_interfaces.msg import ArmState
from d2ppo_nodes.convert import time_msg
from d2ppo_nodes.qos import STREAM

_EVERY = 4
"""Of the arm's states, every so manieth is repeated in ROS's own messages."""


class Broadcast:
    """Publishers of the arm's state."""

    def __init__(self, node: Node, frame: str, joints: list[str], fingers: list[str], quality: QoSProfile) -> None:
        """Create the publishers.

        Args:
            node: the arm node.
            frame: in which poses and forces are given.
            joints: names of the arm's seven joints.
            fingers: names of the hand's two.
            quality: of the arm's state.
        """
        self._frame, self._joints, self._fingers = frame, joints, fingers
        self._count = 0
        self._state_pub = node.create_publisher(ArmState, "arm/state", quality)
        self._joints_pub = node.create_publisher(JointState, "joint_states", STREAM)
        self._fingers_pub = node.create_publisher(JointState, "franka_gripper/joint_states", STREAM)
        prefix = "franka_robot_state_broadcaster"
        self._pose_pub = node.create_publisher(PoseStamped, f"{prefix}/current_pose", STREAM)
        self._wrench_pub = node.create_publisher(WrenchStamped, f"{prefix}/external_wrench_in_base_frame", STREAM)

    def publish(self, state: ArmState, now_ns: int) -> None:
        """Tell the newest state."""
        self._state_pub.publish(state)
        self._count += 1
        if self._count % _EVERY == 0:
            self._repeat(state, now_ns)

    def _repeat(self, state: ArmState, now_ns: int) -> None:
        still, finger_m = [0.0, 0.0], [state.gripper_width_m / 2] * 2
        joints = JointState(name=[*self._joints, *self._fingers])
        joints.position = array.array("d", [*state.q_rad, *finger_m])
        joints.velocity = array.array("d", [*state.dq_rad_s, *still])
        joints.effort = array.array("d", [*state.tau_nm, *still])
        fingers = JointState(name=self._fingers, position=finger_m, velocity=still, effort=still)
        messages: dict[Publisher, JointState | PoseStamped | WrenchStamped] = {
            self._joints_pub: joints,
            self._fingers_pub: fingers,
            self._pose_pub: PoseStamped(pose=state.pose),
            self._wrench_pub: WrenchStamped(wrench=state.external_wrench),
        }
        for publisher, message in messages.items():
            message.header.stamp, message.header.frame_id = time_msg(now_ns), self._frame
            publisher.publish(message)
