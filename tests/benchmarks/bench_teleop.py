"""A hand at the simulated stack: how soon the arm follows it, stops after it, is taken from a policy and given back.

Events are written as the kernel would write a gamepad's; times are from the write to the arrival of the arm's state
that shows the effect, on the wall clock and on the stack's own, whose pace is printed too.

    python tests/benchmarks/bench_teleop.py --trials 100
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from d2ppo_core.runtime.teleop import gamepad as pad
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_interfaces.msg import ArmState
from d2ppo_nodes.client import StackClient, client_of
from d2ppo_nodes.convert import time_ns, twist_of

FULL = 32767
TICK_NS = 8_000_000
REST = np.array((1e-4,) * 3 + (5e-4,) * 3)
Times = dict[str, list[float]]


class Hand:
    """Writes a gamepad's events, and keeps what the arm says."""

    def __init__(self, client: StackClient, path: Path) -> None:
        """Open the other end of the pad."""
        self.client, self._fd = client, os.open(path, os.O_WRONLY)
        self.states: list[tuple[float, ArmState]] = []
        client.on_arm = lambda state, _: self.states.append((time.monotonic(), state))

    def send(self, *events: tuple[int, int, int]) -> tuple[float, int]:
        """Write events and their report; when, on the wall clock and the stack's, in s and ns."""
        data = b"".join(pad.event(*one) for one in (*events, (pad.SYN, pad.SYN_REPORT, 0)))
        stamp_ns = time_ns(self.states[-1][1].header.stamp)
        os.write(self._fd, data)
        return time.monotonic(), stamp_ns

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        until_s = time.monotonic() + seconds
        self.client.spin_until(lambda: time.monotonic() > until_s, seconds + 5.0, "time")

    def since(self, sent: tuple[float, int], shows: Callable[[ArmState], bool], what: str) -> tuple[float, float]:
        """Wait for a state that shows something; how long after an event, in ms of the wall clock and the stack's."""
        first = len(self.states)

        def found() -> list[tuple[float, ArmState]]:
            return [one for one in self.states[first:] if time_ns(one[1].header.stamp) > sent[1] and shows(one[1])]

        self.client.spin_until(found, 10.0, what)
        at_s, state = found()[0]
        return 1e3 * (at_s - sent[0]), (time_ns(state.header.stamp) - sent[1]) / 1e6


def at_rest(state: ArmState) -> bool:
    """Whether the reference stands."""
    return bool((np.abs(twist_of(state.reference_twist)) < REST).all())


def follow_and_stop(hand: Hand, trials: int) -> Times:
    """Push the stick and let the dead-man switch go, forth and back."""
    times: Times = {name: [] for name in ("first command", "first command, stack", "at rest", "at rest, stack")}
    rng = np.random.default_rng(1)
    for trial in range(trials):
        hand.send((pad.KEY, pad.DEADMAN, 1))
        hand.wait(0.15 + 0.05 * rng.random())
        sent = hand.send((pad.ABS, pad.LEFT_Y, FULL if trial % 2 else -FULL))
        wall, own = hand.since(sent, lambda state: not at_rest(state), "the first command")
        times["first command"].append(wall)
        times["first command, stack"].append(own)
        hand.wait(0.35 + 0.05 * rng.random())
        sent = hand.send((pad.KEY, pad.DEADMAN, 0))
        wall, own = hand.since(sent, at_rest, "the arm to rest")
        times["at rest"].append(wall)
        times["at rest, stack"].append(own)
        hand.send((pad.ABS, pad.LEFT_Y, 0))
        hand.wait(0.1)
    return times


def take_and_give(hand: Hand, trials: int) -> Times:
    """Take the arm from the policy for half a second and give it back."""
    times: Times = {name: [] for name in ("taken", "step while taken", "step while given back", "stamp after release")}
    for trial in range(trials):
        first = len(hand.states)
        stick = (pad.ABS, pad.LEFT_X, FULL if trial % 2 else -FULL)
        sent = hand.send((pad.KEY, pad.DEADMAN, 1), stick)
        times["taken"].append(hand.since(sent, lambda state: state.by_hand, "the takeover")[0])
        hand.wait(0.5)
        middle = len(hand.states)
        times["step while taken"].append(largest_step_m_s2(hand.states[first:middle], sent[1]))
        sent = hand.send((pad.KEY, pad.DEADMAN, 0), (pad.ABS, pad.LEFT_X, 0))
        followed = lambda state: not state.by_hand and state.state == ArmState.RUNNING  # noqa: E731
        hand.since(sent, followed, "the policy to go on")
        state = next(state for _, state in hand.states[middle:] if followed(state))
        times["stamp after release"].append((time_ns(state.chunk_stamp) - sent[1]) / 1e6)
        hand.wait(1.0)
        times["step while given back"].append(largest_step_m_s2(hand.states[middle:], sent[1]))
    return times


def largest_step_m_s2(states: list[tuple[float, ArmState]], since_ns: int) -> float:
    """Largest change of the commanded velocity from one tick to the next in the 200 ms after an event, over their time.

    Ticks that a busy machine's clock pushes together are left out: two come where one was due.
    """
    told = [(time_ns(state.header.stamp), twist_of(state.reference_twist)[:3]) for _, state in states]
    told = [(stamp_ns, twist) for stamp_ns, twist in told if 0 <= stamp_ns - since_ns <= 200_000_000]
    steps = [
        np.linalg.norm(b - a) / ((t - s) * 1e-9)
        for (s, a), (t, b) in zip(told, told[1:], strict=False)
        if t - s >= TICK_NS
    ]
    return float(max(steps))


def summary(times: Times) -> dict[str, dict[str, float]]:
    """p50, p99 and the largest."""
    return {
        name: {"p50": np.percentile(row, 50), "p99": np.percentile(row, 99), "max": max(row), "n": len(row)}
        for name, row in times.items()
    }


def run(policy: bool, measure: Callable[[Hand, int], Times], trials: int, address: str, domain_id: int) -> Times:
    """Start a stack with a pad, home and start its arm, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pad")
        os.mkfifo(path)
        chosen = {"robot_address": address, "policy": policy, "teleop": "gamepad", "device_path": str(path)}
        description = load_stack("sim", chosen)
        with Stack(description, domain_id=domain_id, log_file=Path(folder, "log")) as stack:
            os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
            client = client_of(description)
            try:
                client.spin_until(lambda: client.arm and client.arm.state == 0, 90.0, "the arm", stack.check)
                client.trigger("arm/home")
                client.spin_until(lambda: client.arm.state == ArmState.READY, 60.0, "home")
                hand = Hand(client, path)
                client.trigger("arm/start")
                hand.send((pad.ABS, pad.HAT_Y, -1))
                hand.wait(0.5)
                times = measure(hand, trials)
                own_s = (time_ns(hand.states[-1][1].header.stamp) - time_ns(hand.states[0][1].header.stamp)) * 1e-9
                times["pace"] = [own_s / (hand.states[-1][0] - hand.states[0][0])]
                return times
            finally:
                client.close()


@click.command()
@click.option("--trials", default=100, show_default=True)
@click.option("--address", default="127.0.0.41")
@click.option("--domain-id", default=41)
@click.option("--out", type=click.Path(path_type=Path))
def main(trials: int, address: str, domain_id: int, out: Path | None) -> None:
    """Measure both, print ms, m/s² and the pace of the stack's clock."""
    figures = summary(run(False, follow_and_stop, trials, address, domain_id))
    taken = summary(run(True, take_and_give, max(1, trials // 5), address, domain_id))
    figures |= {f"policy: {name}": row for name, row in taken.items()}
    for name, row in figures.items():
        click.echo(f"{name:32} p50 {row['p50']:7.2f}  p99 {row['p99']:7.2f}  max {row['max']:7.2f}  n {row['n']}")
    if out is not None:
        out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
