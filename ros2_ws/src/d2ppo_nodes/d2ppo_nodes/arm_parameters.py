"""Parameters of the arm node as the core's own configurations."""

from d2ppo_core.drivers.franka import FrankaConfig, GripperConfig
from d2ppo_core.runtime.control.arm_state import HOME, ArmConfig
from d2ppo_core.runtime.control.blend import BlendLimits
from d2ppo_core.runtime.control.poses import checked_joints, load_poses
from d2ppo_core.runtime.safety.cell import Cell
from d2ppo_core.runtime.safety.robots import robot_named
from d2ppo_nodes.lifecycle import StackNode
from d2ppo_nodes.setting import task_of

SPEED_SCALE = "speed_scale"
HOME_Q_RAD = (0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398)
"""Of our tasks; for an arm without one."""


def franka_config(node: StackNode, cell: Cell) -> FrankaConfig:
    """Read how the robot is driven."""
    return FrankaConfig(
        address=node.text("robot_address"),
        robot=cell.robot,
        client=node.text("client") or cell.client,
        realtime=node.text("realtime"),
        stiffness_n_m=node.number("stiffness_n_m"),
        stiffness_nm_rad=node.number("stiffness_nm_rad"),
        friction_nm=node.number("friction_nm"),
        friction_nms_rad=node.number("friction_nms_rad"),
        max_force_n=node.number("max_force_n"),
        collision_torque_nm=node.number("collision_torque_nm"),
        collision_force_n=node.number("collision_force_n"),
        homing_dynamics=node.number("homing_dynamics"),
        guard_s=node.number("guard_s"),
    )


def gripper_config(node: StackNode, address: str) -> GripperConfig:
    """Read how the hand is driven."""
    return GripperConfig(
        address=address,
        speed_m_s=node.number("gripper_speed_m_s"),
        force_n=node.number("gripper_force_n"),
        grasp_above_m=node.number("grasp_above_m"),
    )


def arm_config(node: StackNode, cell: Cell) -> ArmConfig:
    """Read how the arm is commanded."""
    robot = robot_named(cell.robot)
    poses = load_poses(node.text("poses"), robot)
    task = task_of(node)
    home_q_rad = node.numbers("home_q_rad") or (task.home_q_rad if task else HOME_Q_RAD)
    return ArmConfig(
        reference_hz=node.number("reference_hz"),
        chunk_timeout_s=node.number("chunk_timeout_s"),
        state_timeout_s=node.number("state_timeout_s"),
        stall_ticks=node.integer("stall_ticks"),
        blend=_blend_limits(node),
        deadman=node.flag("deadman"),
        deadman_timeout_s=node.number("deadman_timeout_s"),
        hand_timeout_s=node.number("hand_timeout_s"),
        speed_scale=node.number(SPEED_SCALE),
        recovery_dynamics=node.number("recovery_dynamics"),
        home_q_rad=checked_joints(HOME, home_q_rad, robot),
        home_gripper_width_m=node.number("home_gripper_width_m"),
        poses=poses,
        cell=cell,
    )


def _blend_limits(node: StackNode) -> BlendLimits:
    return BlendLimits(
        shortest_s=node.number("blend_s"),
        longest_s=node.number("longest_blend_s"),
        acceleration_m_s2=node.number("blend_acceleration_m_s2"),
        jerk_m_s3=node.number("blend_jerk_m_s3"),
        acceleration_rad_s2=node.number("blend_acceleration_rad_s2"),
        jerk_rad_s3=node.number("blend_jerk_rad_s3"),
    )
