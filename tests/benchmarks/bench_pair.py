"""Question: do two arms follow every plan together, whatever happens to the chunks of one of them?

Runs `sim_transport` with a bundle that moves both arms, and a relay between the policy and each arm that spoils a share
of the chunks: a NaN, another frame, another epoch, another stamp, lost, late by 30, 100 or 300 ms, sent twice. Every
`--stops` seconds or so one arm is stopped, both are bumped or stopped, and both are brought home and started again.
Reports the time between the first commands of a plan on both arms (the stack's clock) and the plans that one arm alone
executed: while both ran, and within half a second of a stop. Budget: p99 <= 10 ms, none alone.

    python tests/benchmarks/bench_pair.py BUNDLE [--minutes 30] [--spoilt 0.2] [--stops 60] [--out file.json]
"""

import argparse
import copy
import json
import os
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from d2ppo_core.stack.description import StackDescription
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_interfaces.msg import ActionChunk, ArmState
from d2ppo_nodes.client import StackClient, client_of
from d2ppo_nodes.convert import time_ns
from d2ppo_nodes.episodes import EpisodeRunner
from d2ppo_nodes.qos import EVERY

ARMS = ("left", "right")
FAULTS = ("nan", "frame", "epoch", "stamp", "lost", "late 30", "late 100", "late 300", "twice")
RELAYED, STOP_S = "policy/relayed", 0.5


def relayed(stack: StackDescription) -> StackDescription:
    """The same stack, whose arms hear the relay instead of the policy."""
    nodes = tuple(
        replace(node, remappings={**node.remappings, "policy/chunk": f"/{node.namespace}/{RELAYED}"})
        if node.executable == "arm_node"
        else node
        for node in stack.nodes
    )
    return replace(stack, nodes=nodes)


class Relay:
    """Between the policy and the arms; spoils one arm's chunk of some plans."""

    def __init__(self, client: StackClient, share: float) -> None:
        self._share, self._rng, self._node = share, random.Random(0), client._node
        self._out = {name: self._node.create_publisher(ActionChunk, f"/{name}/{RELAYED}", EVERY) for name in ARMS}
        self._late: list[tuple[float, str, ActionChunk]] = []
        self.spoilt: Counter[str] = Counter()
        self._chosen: dict[int, tuple[str, str]] = {}
        self._node.create_timer(0.002, self.send_late)

    def take(self, chunk: ActionChunk, name: str) -> None:
        if chunk.sequence not in self._chosen:
            spoilt = self._rng.random() < self._share
            self._chosen[chunk.sequence] = (self._rng.choice(ARMS), self._rng.choice(FAULTS)) if spoilt else ("", "")
        whose, fault = self._chosen[chunk.sequence]
        if whose != name:
            self._out[name].publish(chunk)
            return
        self.spoilt[fault] += 1
        kind, _, late_ms = fault.partition(" ")
        if kind == "late":
            self._late.append((time.monotonic() + int(late_ms) * 1e-3, name, chunk))
        elif kind != "lost":
            for _ in range(2 if kind == "twice" else 1):
                self._out[name].publish(spoil(copy.deepcopy(chunk), kind))

    def send_late(self) -> None:
        due = [entry for entry in self._late if entry[0] <= time.monotonic()]
        self._late = [entry for entry in self._late if entry not in due]
        for _, name, chunk in due:
            self._out[name].publish(chunk)


def spoil(chunk: ActionChunk, kind: str) -> ActionChunk:
    if kind == "nan":
        chunk.poses[3].position.x = float("nan")
    elif kind == "frame":
        chunk.header.frame_id = "elsewhere"
    elif kind == "epoch":
        chunk.epoch += 1
    elif kind == "stamp":
        chunk.header.stamp.sec -= 10
    return chunk


class Tally:
    """First commands of each plan, and when an arm ran or did not."""

    def __init__(self) -> None:
        self.first_ns: dict[int, dict[str, int]] = {}
        self.stopped_ns: list[int] = []
        self.states: dict[str, ArmState] = {}

    def hear(self, state: ArmState, name: str) -> None:
        before = self.states.get(name)
        if before is not None and before.state == ArmState.RUNNING != state.state:
            self.stopped_ns.append(time_ns(state.header.stamp))
        self.states[name] = state
        if first_ns := time_ns(state.chunk_first_command):
            self.first_ns.setdefault(state.chunk_sequence, {}).setdefault(name, first_ns)

    def result(self) -> dict[str, Any]:
        both = [plan for plan in self.first_ns.values() if len(plan) == 2]
        alone = [next(iter(plan.values())) for plan in self.first_ns.values() if len(plan) == 1]
        at_stop = [ns for ns in alone if any(-STOP_S < (stop - ns) * 1e-9 < STOP_S for stop in self.stopped_ns)]
        apart = [abs(plan["left"] - plan["right"]) * 1e-6 for plan in both]
        return {
            "plans_executed_by_both": len(both),
            "alone_while_both_ran": len(alone) - len(at_stop),
            "alone_at_a_stop": len(at_stop),
            "apart_ms": {str(q): round(float(np.percentile(apart, q)), 1) for q in (50, 90, 99, 100)} if apart else {},
        }


def measure(bundle: str, minutes: float, share: float, stops_s: float, addresses: tuple[str, str]) -> dict[str, Any]:
    chosen = {"bundle": bundle, "cameras": "false", "left_address": addresses[0], "right_address": addresses[1]}
    description = relayed(load_stack("sim_transport", chosen))
    with Stack(description, domain_id=54) as stack:
        os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
        client = client_of(description)
        runner, tally, relay = EpisodeRunner(client, stack.check, 1e9), Tally(), Relay(client, share)
        client.on_chunk, client.on_arm = relay.take, tally.hear
        runner.wait_until_up(180.0)
        until_s, rng, starts, stops = time.monotonic() + 60.0 * minutes, random.Random(1), 0, Counter[str]()
        began_ns, began_s = client.now_ns(), time.monotonic()
        while time.monotonic() < until_s:
            bring_back(client, runner)
            starts += 1
            stop_s = min(until_s, time.monotonic() + rng.uniform(0.5, 1.5) * stops_s)
            while time.monotonic() < stop_s and client.together.startswith(("STARTING", "RUNNING")):
                runner._check()
                client._executor.spin_once(timeout_sec=0.02)
            if client.together.startswith("RUNNING"):
                stops[stop_one(client, rng)] += 1
            else:
                stops[client.together] += 1
        states = tally.states.values()
        result = {
            "minutes": round((time.monotonic() - began_s) / 60.0, 1),
            "simulated_minutes": round((client.now_ns() - began_ns) * 1e-9 / 60.0, 1),
            **tally.result(),
            "spoilt": dict(relay.spoilt),
            "refused_by_an_arm": sum(state.chunks_refused for state in states),
            "starts": starts,
            "stops": dict(stops),
            "load_average": os.getloadavg(),
        }
        client.close()
    return result


def bring_back(client: StackClient, runner: EpisodeRunner) -> None:
    """Whatever happened: both home, both started."""
    settled = time.monotonic() + 1.0
    client.spin_until(lambda: time.monotonic() > settled, 2.0, "a second")
    if client.together.startswith("ESTOPPED"):
        client.trigger("clear_estop", 30.0)
    runner.bring_home()
    client.trigger("start")
    client.spin_until(lambda: client.together.startswith("RUNNING"), 30.0, "both to run", runner._check)


def stop_one(client: StackClient, rng: random.Random) -> str:
    """Let something happen that stops one arm, and so both."""
    what, name = rng.choice(("stop of one arm", "reflex", "estop", "stop")), rng.choice(ARMS)
    if what == "estop":
        client.publish_estop(True)
    elif what == "stop":
        client.trigger("stop")
    elif what == "stop of one arm":
        client.trigger(f"/{name}/arm/stop")
    else:
        client.inject_fault("reflex")
    client.spin_until(lambda: not client.together.startswith("RUNNING"), 30.0, "the stop")
    return what


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--spoilt", type=float, default=0.2, help="share of the plans")
    parser.add_argument("--stops", type=float, default=60.0, help="seconds between two stops, about")
    parser.add_argument("--addresses", nargs=2, default=("127.0.0.54", "127.0.0.55"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.bundle, arguments.minutes, arguments.spoilt, arguments.stops, tuple(arguments.addresses))
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1))
