"""``d2ppo teleop``: move an arm of a running stack by hand, from this terminal."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from d2ppo_core.runtime.teleop.devices import DEVICES, open_device
from d2ppo_core.runtime.teleop.mapping import FRAMES
from d2ppo_core.stack.environment import MAX_DOMAIN_ID
from d2ppo_nodes.operator import Operator

_FIND_S = 20.0
_WORLD_S = 20.0


@click.command()
@click.option("--device", type=click.Choice(list(DEVICES)), default="keyboard", show_default=True)
@click.option("--path", default="", help="Which one, such as /dev/input/event5; needed only where several are.")
@click.option("--frame", type=click.Choice(FRAMES), default="base", show_default=True)
@click.option("--speed", default=0.2, show_default=True, type=click.FloatRange(0.01, 0.25), help="Greatest, m/s.")
@click.option("--namespace", help="Which arm; needed only where several are.")
@click.option("--domain-id", type=click.IntRange(0, MAX_DOMAIN_ID), help="ROS domain of the stack.")
@click.option("--script", metavar="TASK", help="In simulation: its scripted demonstrator plays a gamepad.")
@click.option("--episodes", default=5, show_default=True, type=click.IntRange(1), help="With --script: how many.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="With --script: of the first one.")
@click.argument("ros_arguments", nargs=-1, type=click.UNPROCESSED)
def teleop(
    device: str,
    path: str,
    frame: str,
    speed: float,
    namespace: str | None,
    domain_id: int | None,
    script: str | None,
    episodes: int,
    seed: int,
    ros_arguments: tuple[str, ...],
) -> None:
    """Move an arm by hand until Ctrl-C.

    The arm moves only while the dead-man switch is held, after start; a policy that runs is taken over meanwhile.
    More parameters of the teleop node follow as `-- -p max_turn_rad_s:=0.5`.
    """
    if script is None:
        open_device(device, path).close()  # what is wrong with it is said at once
    arm = find_arm(namespace, domain_id)
    if script is not None:
        sys.exit(_play(script, arm.namespace, range(seed, seed + episodes)))
    chosen = {"device": device, "device_path": f"'{path}'", "frame": frame, "max_speed_m_s": speed}
    become_node(arm, chosen, ros_arguments)


@dataclass(frozen=True, kw_only=True)
class FoundArm:
    """What a hand needs to know about an arm."""

    namespace: str
    """Without slashes."""
    estop: str
    """Topic of its emergency stop, which it may share with another arm."""
    in_simulation: bool
    """Whether it lives in simulated time."""


def find_arm(namespace: str | None, domain_id: int | None) -> FoundArm:
    """Return the arm that is meant.

    Raises:
        StackError: no arm answers, or several do.
    """
    with Operator(domain_id, _FIND_S) as operator:
        target = operator.find(namespace)
        if target.is_pair:
            raise click.UsageError(f"say which arm with --namespace: {' or '.join(target.arms)}")
        operator.watch(target)
        estop, in_simulation = operator.button_of(target.namespace), operator.node.count_publishers("/clock") > 0
    if domain_id is not None:
        os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    return FoundArm(namespace=target.namespace, estop=estop, in_simulation=in_simulation)


def become_node(arm: FoundArm, parameters: Mapping[str, Any], ros_arguments: Iterable[str]) -> NoReturn:
    """Go on as a teleop node beside an arm, in this terminal."""
    command = [sys.executable, "-m", "d2ppo_nodes.teleop_node", "--ros-args", "-r", f"__ns:=/{arm.namespace}"]
    command += ["-r", f"estop:={arm.estop}", "-p", f"use_sim_time:={str(arm.in_simulation).lower()}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *ros_arguments])


def _play(task: str, namespace: str, seeds: range) -> int:
    """Let the scripted demonstrator play; 0 when it solved every episode."""
    from d2ppo_nodes.client import StackClient
    from d2ppo_nodes.scripted_hand import scripted_hand  # MuJoCo comes with it

    client, solved = StackClient(f"/{namespace}"), 0
    try:
        client.spin_until(lambda: client.world and client.arm, _WORLD_S, "a simulated world and its arm")
        if client.world is not None and client.world.task != task:
            raise click.UsageError(f"this world has the task {client.world.task}, not {task}")
        with scripted_hand(client, namespace, task, lambda: None) as hand:
            for seed in seeds:
                episode = hand.episode(seed)
                solved += episode.success
                end = "solved" if episode.success else "not solved"
                click.echo(f"episode {seed}: {end} after {episode.seconds:.1f} s")
    finally:
        client.close()
    click.echo(f"{solved} of {len(seeds)} solved")
    return 0 if solved == len(seeds) else 1
