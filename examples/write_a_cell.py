"""Write a cell and see the safety filter act: no robot, no ROS.

python examples/write_a_cell.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.safety.cell import load_cell
from d2ppo_core.runtime.safety.filter import SafetyFilter
from d2ppo_core.runtime.safety.kinematics import posture
from d2ppo_core.runtime.safety.robots import robot_named

CELL = """
robot: panda
workspace_min_m: [0.25, -0.35, 0.0]       # of the end effector, in the robot's base frame
workspace_max_m: [0.70, 0.35, 0.60]
table_height_m: 0.0
tool:
  balls:
    - {position_m: [0.0, 0.0, 0.01]}      # the fingers' ends
keep_out:
  boxes:
    - {centre_m: [0.45, 0.30, 0.20], size_m: [0.3, 0.1, 0.4]}   # a shelf at the left
linear_speed_m_s: 0.25
angular_speed_rad_s: 1.0
"""
Q_RAD = np.array([0.0, 0.2, 0.0, -2.2, 0.0, 2.4, 0.785])
PERIOD_S = 0.008


def push(safety: SafetyFilter, start: RigidState, direction: np.ndarray, seconds: float) -> RigidState:
    """Ask for 1 m/s in one direction for a while, as a policy that lost its way would."""
    command, T_flange_ee = start, safety.cell.tool.T_flange_ee
    q_rad = Q_RAD.copy()
    for _ in range(round(seconds / PERIOD_S)):
        wanted = command.pose.copy()
        wanted[:3, 3] += direction * PERIOD_S
        twist = np.concatenate([direction, np.zeros(3)])
        before = command
        command = safety.apply(RigidState(wanted, twist), before, q_rad, PERIOD_S)
        step = np.concatenate([command.pose[:3, 3] - before.pose[:3, 3], np.zeros(3)])
        q_rad += np.linalg.pinv(posture(q_rad, T_flange_ee).jacobian()) @ step  # the arm follows
    return command


def main() -> None:
    """Push at the table and at the shelf, and print where the commands end and why."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "my_lab.yaml"
        path.write_text(CELL, encoding="utf-8")
        cell = load_cell(str(path))  # a typing error in it would be one line that names the key
    start = RigidState(posture(Q_RAD, cell.tool.T_flange_ee).pose, np.zeros(6))
    print(f"begins at {np.round(start.pose[:3, 3], 3)} m")
    for name, direction in (("table", [0.0, 0.0, -1.0]), ("shelf", [0.0, 1.0, 0.0])):
        safety = SafetyFilter(cell, robot_named(cell.robot))
        end = push(safety, start, np.array(direction), 4.0)
        cut = {check: count for check, count in safety.counts.items() if count}
        print(f"pushed at the {name} for 4 s: ends at {np.round(end.pose[:3, 3], 3)} m, cut by {cut}")


if __name__ == "__main__":
    main()
