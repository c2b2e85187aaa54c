"""`d2ppo fci-server`: simulated Franka robots for anybody's libfranka program, no ROS needed."""

from __future__ import annotations

import ipaddress
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from d2ppo_core.errors import ConfigError, WorldError

if TYPE_CHECKING:
    from sim.fci.cell import RobotCell
    from sim.fci.robot_server import RobotServer
    from sim.world.world import World

FRAME_PERIOD_NS = 50_000_000


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="Of ports 1337 (arm) and 1338 (hand).")
@click.option("--expose", is_flag=True, help="Let other machines connect; whoever reaches the port drives the robot.")
@click.option(
    "--robot", type=click.Choice(["panda", "fr3"]), help="Which robot; default: what speaks the version, FR3."
)
@click.option("--robot-version", type=int, help="Server version, 5 or 10; default: the robot's own, 5 Panda, 10 FR3.")
@click.option(
    "--backend",
    type=click.Choice(["mujoco", "kinematic"]),
    default="mujoco",
    show_default=True,
    help="A world with physics, or an ideal arm that is always where it is told to be.",
)
@click.option("--task", default="lift", show_default=True, help="Which world.")
@click.option("--seed", default=0, show_default=True, help="Of the objects' start.")
@click.option("--paced", is_flag=True, help="Wait for no command: late is lost, as on a robot. Default: lock-step.")
@click.option("--no-real-time", is_flag=True, help="As fast as the client answers.")
@click.option(
    "--robots", default=1, show_default=True, help="That many, each in a world of its own, on successive addresses."
)
@click.option("--faults", is_flag=True, help="Read faults from standard input: NAME [SECONDS [AMOUNT]], or 'help'.")
def fci_server(
    address: str,
    expose: bool,
    robot: str | None,
    robot_version: int | None,
    backend: str,
    task: str,
    seed: int,
    paced: bool,
    no_real_time: bool,
    robots: int,
    faults: bool,
) -> None:
    """Serve a simulated robot and its hand until Ctrl-C."""
    from sim.fci.limits import SPOKEN

    robot = robot or ("panda" if robot_version == 5 else "fr3")
    version = SPOKEN[robot] if robot_version is None else robot_version
    if robots < 1:
        raise ConfigError(f"--robots takes 1 or more, got {robots}")
    if robots > 1:
        if faults:
            raise ConfigError("--faults goes with one robot; start the others by themselves")
        _expect_one_arm(task, "--robots")
        words = ["--robot", robot, "--robot-version", str(version), "--backend", backend]
        words += ["--task", task, "--seed", str(seed)]
        words += ["--paced"] * paced + ["--no-real-time"] * no_real_time + ["--expose"] * expose
        sys.exit(_serve_many(address, robots, words))
    options: dict[str, Any] = {"version": version, "lockstep": not paced, "real_time": not no_real_time}
    options["exposed"] = expose
    _serve(address, robot, backend, task, seed, faults, options)


def _serve(address: str, robot: str, backend: str, task: str, seed: int, faults: bool, options: dict[str, Any]) -> None:
    import gc

    from sim.fci.gripper_server import GripperServer
    from sim.fci.kinematic_arm import KinematicArm
    from sim.fci.robot_server import RobotServer
    from sim.tasks import task_named
    from sim.world.world import World

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    world = World(task_named(task), seed, robot) if backend == "mujoco" else KinematicArm(task, robot)
    if isinstance(world, World):
        options["on_step"] = (_frame_publisher(address),)
    if isinstance(world, World) and len(world.arms) > 1:
        if faults:
            _expect_one_arm(task, "--faults")
        _serve_cell(world, address, options, stop)
        return
    hand = GripperServer(world, address, exposed=options["exposed"])
    server = RobotServer(world, address, gripper=hand, **options)
    click.echo(f"task {task}: {robot}, robot version {options['version']} on {address}:1337, gripper on {address}:1338")
    if faults:
        threading.Thread(target=_read_faults, args=(server,), daemon=True).start()
    gc.collect()
    gc.freeze()
    server.serve(stop)
    server.close()
    statistics = server.statistics
    click.echo(
        f"served {world.time_ns * 1e-9:.1f} s at {statistics.real_time_factor:.3f} of real time, "
        f"{statistics.commands_late} commands late, {statistics.commands_lost} lost"
    )


def _serve_cell(world: World, address: str, options: dict[str, Any], stop: threading.Event) -> None:
    """All arms of one world, on successive addresses."""
    import gc

    from sim.fci.cell import RobotCell

    cell: RobotCell = RobotCell(world, _successive(address, len(world.arms)), **options)
    for arm, robot in zip(world.arms, cell.robots, strict=True):
        place = f"{robot.address}:1337, gripper on {robot.address}:1338"
        click.echo(f"task {world.task.name}, {arm.name}: {world.robot}, robot version {options['version']} on {place}")
    gc.collect()
    gc.freeze()
    cell.serve(stop)
    cell.close()
    served = f"served {world.time_ns * 1e-9:.1f} s at {cell.real_time_factor:.3f} of real time"
    click.echo(f"{served}, {cell.commands_late} commands late")


def _frame_publisher(address: str) -> Callable[[World], None]:
    from sim.world.snapshots import SnapshotPublisher

    snapshots = SnapshotPublisher(address)

    def publish_frame(world: World) -> None:
        if world.time_ns % FRAME_PERIOD_NS == 0:
            snapshots.publish(world.snapshot())

    return publish_frame


def _expect_one_arm(task: str, option: str) -> None:
    from sim.tasks import task_named

    arms = len(task_named(task).arms)
    if arms > 1:
        raise ConfigError(f"{option} goes with a task of one arm, {task} has {arms}")


def _successive(address: str, count: int) -> tuple[str, ...]:
    """This address and those after it. Raises ConfigError."""
    try:
        first = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise ConfigError(f"several robots count on from a numeric --address, got {address!r}") from error
    return tuple(str(first + i) for i in range(count))


def _read_faults(server: RobotServer) -> None:
    """Each line a fault; answers with one line each."""
    from sim.fci.faults import CLEAR, FAULTS

    for line in sys.stdin:
        name, *numbers = line.split() or ("help",)
        if name == "help":
            for fault, (what, unit, default) in FAULTS.items():
                click.echo(f"{fault}: {what}" + (f" ({unit}, default {default:g})" if unit else ""))
            click.echo(f"{CLEAR}: all faults end")
            continue
        try:
            click.echo(server.inject_fault(name, *map(float, numbers[:2])))
        except (WorldError, ValueError, TimeoutError) as error:
            click.echo(f"Error: {error or 'the world does not answer'}", err=True)
        sys.stdout.flush()


def _serve_many(address: str, robots: int, options: list[str]) -> int:
    """One process per robot; ends them all when asked to or when one fails, and returns the worst exit code."""
    addresses = _successive(address, robots)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "fci-server", *options]
    servers = [subprocess.Popen([*command, "--address", each]) for each in addresses]
    while not stop.wait(0.1) and all(server.poll() is None for server in servers):
        pass
    for server in servers:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
    return max(abs(server.wait()) for server in servers)
