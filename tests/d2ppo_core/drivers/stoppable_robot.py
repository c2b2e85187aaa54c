"""A simulated robot with a user stop: python stoppable_robot.py ADDRESS VERSION.

SIGUSR1 presses it, SIGUSR2 lets it go.
"""

import signal
import sys
import threading

from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import RobotServer
from sim.tasks import task_named
from sim.world.world import World

world = World(task_named("lift"))
hand = GripperServer(world, sys.argv[1])
server = RobotServer(world, sys.argv[1], version=int(sys.argv[2]), gripper=hand)
signal.signal(signal.SIGUSR1, lambda *_: server.press_user_stop(True))
signal.signal(signal.SIGUSR2, lambda *_: server.press_user_stop(False))
server.serve(threading.Event())
