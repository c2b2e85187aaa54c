"""A robot without ROS: `python -m sim.fci` serves a world that any Franka client of this version can drive."""

from __future__ import annotations

import gc
import signal
import sys
import threading

import click

from d2ppo_core.errors import D2ppoError
from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import RobotServer
from sim.snapshots import SnapshotPublisher
from sim.tasks import TASKS, task_named
from sim.world import World

FRAME_PERIOD_NS = 50_000_000


@click.command()
@click.option("--task", default="lift", show_default=True, type=click.Choice(sorted(TASKS)), help="Which world.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Address of ports 1337 and 1338.")
@click.option("--seed", default=0, show_default=True, help="Seed of the start.")
@click.option("--robot-version", default=10, show_default=True, help="Robot server version: 10 (FR3) or 5 (Panda).")
def main(task: str, address: str, seed: int, robot_version: int) -> None:
    """Serve a simulated robot until Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        world = World(task_named(task), seed)
        snapshots = SnapshotPublisher(address)

        def publish_frame(world: World) -> None:
            if world.time_ns % FRAME_PERIOD_NS == 0:
                snapshots.publish(world.snapshot())

        gripper = GripperServer(world, address)
        server = RobotServer(world, address, version=robot_version, gripper=gripper, on_step=(publish_frame,))
    except D2ppoError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    click.echo(f"task {task}: robot version {robot_version} on {address}:1337, gripper on {address}:1338")
    gc.collect()
    gc.freeze()
    server.serve(stop)
    server.close()
    statistics = server.statistics
    click.echo(
        f"served {world.time_ns * 1e-9:.1f} s at {statistics.real_time_factor:.3f} of real time, "
        f"{statistics.commands_late} commands late, {statistics.commands_lost} lost"
    )


if __name__ == "__main__":
    main()
