"""Question: does the live stack keep its rates, with the policy moving the arm all the time?

Starts the simulated stack and runs episodes for some minutes. Reports the rate of the references and the ticks that
were missed (the arm node's own counters, on the stack's clock), the world's real-time factor, and the processor time
of each process. Budget: ≥ 100 Hz, none missed, real time ≥ 0.98 on an otherwise idle machine with two cores.

    python tests/benchmarks/bench_stack.py [--minutes 10] [--out file.json]
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import psutil

from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.episodes import EpisodeRunner

EPISODE_S = 15.0


def measure(minutes: float, address: str) -> dict:
    description = load_stack("sim", {"robot_address": address})
    with Stack(description, domain_id=53) as stack:
        os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
        client = StackClient(f"/{description.namespace}")
        runner = EpisodeRunner(client, stack.check, EPISODE_S)
        runner.wait_until_up(90.0)
        runner.run(0, 0)
        result = watch(client, runner, stack, minutes)
        client.close()
    return result


def watch(client: StackClient, runner: EpisodeRunner, stack: Stack, minutes: float) -> dict:
    factors: list[float] = []
    record = client.on_world
    client.on_world = lambda world: (factors.append(world.real_time_factor), record(world))
    cpu = {name: psutil.Process(process.pid) for name, process in stack.processes.items()}
    cpu_before = {name: sum(process.cpu_times()[:2]) for name, process in cpu.items()}
    began, began_sim_ns, late = time.monotonic(), client.now_ns(), client.world.commands_late
    episodes = []
    while time.monotonic() - began < 60.0 * minutes:
        episodes.append(runner.run(len(episodes) + 1, len(episodes) + 1))
    wall_s, sim_s = time.monotonic() - began, (client.now_ns() - began_sim_ns) * 1e-9
    ticks = sum(episode.ticks for episode in episodes)
    return {
        "wall_s": round(wall_s, 1),
        "episodes": len(episodes),
        "successes": sum(episode.success for episode in episodes),
        "reference_hz": round(ticks / sum(episode.duration_s for episode in episodes), 2),
        "ticks": ticks,
        "missed_ticks": sum(episode.missed_ticks for episode in episodes),
        "real_time_whole_run": round(sim_s / wall_s, 4),
        "real_time_per_second": {q: round(float(np.percentile(factors, q)), 4) for q in (1, 50, 99)},
        "commands_late": int(client.world.commands_late - late),
        "chunks_refused": sum(episode.chunks_refused for episode in episodes),
        "inference_p50_p99_ms": [
            round(1e3 * client.policy.inference_p50_s, 3),
            round(1e3 * client.policy.inference_p99_s, 3),
        ],
        "cpu_percent_of_a_core": {
            name: round(100 * (sum(process.cpu_times()[:2]) - cpu_before[name]) / wall_s, 1)
            for name, process in cpu.items()
        },
        "load_average": os.getloadavg(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--address", default="127.0.0.53")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.minutes, arguments.address)
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1))
