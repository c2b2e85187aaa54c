"""Serves Transport's world on two addresses until its input ends: python cell_server.py LEFT RIGHT."""

import sys
import threading

from sim.fci.cell import RobotCell
from sim.tasks import task_named
from sim.world.world import World


def main(addresses: tuple[str, ...]) -> None:
    """Each line on the input is a number of an arm and a fault for it."""
    stop, cell = threading.Event(), RobotCell(World(task_named("transport")), addresses, real_time=False)
    thread = threading.Thread(target=cell.serve, args=(stop,))
    thread.start()
    print("ready", flush=True)
    for line in sys.stdin:
        number, fault = line.split()
        print(cell.inject_fault(int(number), fault), flush=True)
    stop.set()
    thread.join()
    cell.close()


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
