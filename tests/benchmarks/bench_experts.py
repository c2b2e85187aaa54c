"""How often do the scripted experts solve their tasks in robosuite, and in how many control steps?

`plain` goes the shortest careful way; `mixed` draws a style per seed with skill uniform in [0.5, 1], as recordings do.
An episode counts when the task is solved after its last step. Prints one JSON line per task and style.

    python tests/benchmarks/bench_experts.py --tasks lift can square transport --seeds 100
"""

import argparse
import json
import time

import numpy as np

from sim.evaluation.film import expert_episode, play
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import TASKS

WANTED = {"lift": 0.95, "can": 0.95, "square": 0.95, "transport": 0.80}


class NoScreen:
    """Nobody looks."""

    def show(self, env: RobosuiteEnv) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def measure(env: RobosuiteEnv, task: str, style: str, seeds: range) -> dict[str, object]:
    """Run all seeds."""
    started_s, solved, steps = time.monotonic(), [], []
    for seed in seeds:
        skill = None if style == "plain" else np.random.default_rng([seed, 1]).uniform(0.5, 1.0)
        outcome = play(env, expert_episode(env, task, seed, skill), NoScreen())
        solved.append(outcome.success)
        steps.append(outcome.steps)
    lengths = np.array(steps)[solved] if any(solved) else np.array([0])
    return {
        "task": task,
        "style": style,
        "episodes": len(seeds),
        "success_rate": float(np.mean(solved)),
        "wanted": WANTED[task] if style == "plain" else None,
        "steps_p50": float(np.median(lengths)),
        "steps_max": int(lengths.max()),
        "failed_seeds": [seed for seed, success in zip(seeds, solved, strict=True) if not success],
        "wall_s": round(time.monotonic() - started_s, 1),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--styles", nargs="+", choices=["plain", "mixed"], default=["plain"])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    for task in arguments.tasks:
        with RobosuiteEnv(task) as env:
            for style in arguments.styles:
                seeds = range(arguments.first, arguments.first + arguments.seeds)
                print(json.dumps(measure(env, task, style, seeds)), flush=True)


if __name__ == "__main__":
    main()
