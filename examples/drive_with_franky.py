"""Drive the simulated robot with plain franky: nothing of this project but the server behind the address.

d2ppo fci-server                       # in another terminal; a real robot works as well, with space around it
python examples/drive_with_franky.py
"""

import argparse

import franky


def main() -> None:
    """Move a joint, then the hand 5 cm down and back, and print where it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1", help="of the robot")
    address = parser.parse_args().address

    realtime = franky.RealtimeConfig.Ignore if address.startswith("127.") else franky.RealtimeConfig.Enforce
    robot = franky.Robot(address, realtime_config=realtime)
    robot.relative_dynamics_factor = 0.05
    robot.recover_from_errors()

    robot.move(franky.JointMotion([0.0, 0.2, 0.0, -2.2, 0.0, 2.4, 0.785]))
    above = robot.state.O_T_EE.translation
    robot.move(franky.CartesianMotion(franky.Affine([0.0, 0.0, 0.05]), franky.ReferenceType.Relative))
    below = robot.state.O_T_EE.translation
    robot.move(franky.CartesianMotion(franky.Affine([0.0, 0.0, -0.05]), franky.ReferenceType.Relative))
    back = robot.state.O_T_EE.translation

    print(f"hand at z = {above[2]:.3f} m, then {below[2]:.3f} m, then {back[2]:.3f} m")


if __name__ == "__main__":
    main()
