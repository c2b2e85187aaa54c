"""Parameters of the arm node, with their ranges, as the core's own configurations."""

from dataclasses import replace

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor

from d2ppo_core.drivers.franka import FrankaConfig, GripperConfig
from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.arm_state import HOME, ArmConfig
from d2ppo_core.runtime.blend import BlendLimits
from d2ppo_core.runtime.poses import checked_joints, load_poses
from d2ppo_core.runtime.robots import robot_named
from d2ppo_core.runtime.safety_cell import Cell, load_cell
from d2ppo_nodes.lifecycle import StackNode

SPEED_SCALE = "speed_scale"
_ADDRESS, _ADDRESS_TEXT = "172.16.0.2", "address of the robot, or of the simulated one"
_SIMULATED_CELL = "sim_lift"
_HOME_Q_RAD = [0.0, 0.19635, 0.0, -2.61799, 0.0, 2.94159, 0.785398]


def franka_config(node: StackNode, cell: Cell) -> FrankaConfig:
    """Read how the robot is driven."""
    return FrankaConfig(
        address=node.text("robot_address", _ADDRESS, _ADDRESS_TEXT),
        robot=cell.robot,
        realtime=node.text("realtime", "auto", "enforce a real-time kernel, ignore its absence, or auto"),
        stiffness_n_m=node.number("stiffness_n_m", 1500.0, 10.0, 3000.0, "translational stiffness"),
        stiffness_nm_rad=node.number("stiffness_nm_rad", 60.0, 1.0, 200.0, "rotational stiffness"),
        friction_nm=node.number("friction_nm", 0.0, 0.0, 1.0, "friction of joints 1 to 4 that the robot leaves"),
        friction_nms_rad=node.number("friction_nms_rad", 0.0, 0.0, 2.0, "the part that grows with speed"),
        max_force_n=node.number("max_force_n", 25.0, 1.0, 100.0, "greatest force of the tracking controller"),
        collision_torque_nm=node.number("collision_torque_nm", 40.0, 5.0, 100.0, "reflex threshold of a joint"),
        collision_force_n=node.number("collision_force_n", 40.0, 5.0, 150.0, "reflex threshold of the hand"),
        homing_dynamics=node.number("homing_dynamics", 0.15, 0.01, 0.3, "fraction of the limits when homing"),
        guard_s=node.number("guard_s", 0.1, 0.02, 1.0, "silence after which the driver stops the arm itself"),
    )


def gripper_config(node: StackNode, address: str) -> GripperConfig:
    """Read how the hand is driven."""
    return GripperConfig(
        address=address,
        speed_m_s=node.number("gripper_speed_m_s", 0.1, 0.01, 0.1, "speed of the fingers"),
        force_n=node.number("gripper_force_n", 30.0, 5.0, 70.0, "force of a grasp"),
        grasp_above_m=node.number("grasp_above_m", 0.002, 0.0005, 0.04, "fingers closer than this have missed"),
    )


def arm_config(node: StackNode, cell: Cell) -> ArmConfig:
    """Read how the arm is commanded."""
    robot = robot_named(cell.robot)
    poses = load_poses(node.text("poses", "", "YAML, or a .yaml file: name: [7 joints in rad]"), robot)
    home_q_rad = node.numbers("home_q_rad", _HOME_Q_RAD, "home position of the joints")
    return ArmConfig(
        reference_hz=node.number("reference_hz", 125.0, 100.0, 500.0, "rate of the references"),
        chunk_timeout_s=node.number("chunk_timeout_s", 0.6, 0.05, 5.0, "silence after which the arm holds"),
        state_timeout_s=node.number("state_timeout_s", 0.1, 0.02, 1.0, "age of a robot state at which the arm holds"),
        stall_ticks=round(node.number("stall_ticks", 3.0, 1.0, 50.0, "periods without a tick that count as a stall")),
        blend=_blend_limits(node),
        deadman=flag(node, "deadman", False, "chunks count only while the topic deadman is true"),
        deadman_timeout_s=node.number("deadman_timeout_s", 0.2, 0.05, 2.0, "how long a message of deadman counts"),
        speed_scale=speed_scale(node),
        recovery_dynamics=node.number("recovery_dynamics", 0.3, 0.05, 1.0, "speed of the first way after a stop"),
        home_q_rad=checked_joints(HOME, home_q_rad, robot),
        home_gripper_width_m=node.number("home_gripper_width_m", 0.04, 0.0, 0.08, "opening at home"),
        poses=poses,
        cell=cell,
    )


def _blend_limits(node: StackNode) -> BlendLimits:
    return BlendLimits(
        shortest_s=node.number("blend_s", 0.1, 0.02, 0.2, "least time in which a seam fades out"),
        longest_s=node.number("longest_blend_s", 0.2, 0.2, 0.5, "greatest; no more than chunks are apart"),
        acceleration_m_s2=node.number("blend_acceleration_m_s2", 4.0, 0.1, 13.0, "acceleration a seam may add"),
        jerk_m_s3=node.number("blend_jerk_m_s3", 150.0, 1.0, 6500.0, "jerk a seam may add"),
        acceleration_rad_s2=node.number("blend_acceleration_rad_s2", 16.0, 0.1, 25.0, "the same, rotation"),
        jerk_rad_s3=node.number("blend_jerk_rad_s3", 600.0, 1.0, 12500.0, "the same, rotation"),
    )


def read_cell(node: StackNode) -> Cell:
    """Read where the robot stands; only a simulated one may leave it open."""
    name = node.text("cell", "", "name of a cell in launch/cells, or the path of a .yaml file")
    address = node.text("robot_address", _ADDRESS, _ADDRESS_TEXT)
    if not name and not address.startswith("127."):
        raise ConfigError(f"parameter cell must name the cell of the robot at {address}; see launch/cells")
    cell = load_cell(name or _SIMULATED_CELL)
    robot = node.text("robot", "", "panda or fr3; empty: as the cell says")
    if robot and robot_named(robot).name != cell.robot:
        raise ConfigError(f"parameter robot says {robot}, the cell {name or _SIMULATED_CELL} a {cell.robot}")
    low = node.numbers("workspace_min_m", list(cell.workspace_min_m), "lower corner instead of the cell's")
    high = node.numbers("workspace_max_m", list(cell.workspace_max_m), "upper corner instead of the cell's")
    return replace(cell, workspace_min_m=tuple(low), workspace_max_m=tuple(high))


def flag(node: StackNode, name: str, default: bool, description: str) -> bool:
    """Declare a yes-or-no parameter and return its value; ConfigError when it is something else."""
    if not node.has_parameter(name):
        node.declare_parameter(
            name, default, ParameterDescriptor(description=description, read_only=True, dynamic_typing=True)
        )
    value = node.get_parameter(name).value
    if not isinstance(value, bool):
        raise ConfigError(f"parameter {name} must be true or false, got {value!r}")
    return value


def speed_scale(node: StackNode) -> float:
    """Declare the speed scale, which may be changed at any time, and return its value."""
    if not node.has_parameter(SPEED_SCALE):
        text = "how fast chunks are driven along, in [0, 1]; may be changed while the arm moves"
        within = FloatingPointRange(from_value=0.0, to_value=1.0)
        node.declare_parameter(SPEED_SCALE, 1.0, ParameterDescriptor(description=text, floating_point_range=[within]))
    return float(node.get_parameter(SPEED_SCALE).value)
