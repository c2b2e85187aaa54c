"""Question: how many control steps per second do batched worlds make, against two robosuite processes?

Both replay the same recorded expert actions, alternately in one run (A B A B ...), on the same two cores. A: two
processes of plain robosuite without cameras; resets are left out. B1 `raw`: 50 worlds, physics and controller, two
threads. B2 `full`: with observations, reward, success and autoreset, resets included. Also: scaling from one thread
to two, memory per world, start-up of 1000 worlds.

    python tests/benchmarks/bench_batch.py [--tasks lift can ...] [--rounds 3] [--arithmetic exact] [--out file.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
EPISODES = ROOT / "tests" / "sim" / "batch" / "episodes"
WORLDS, LONGEST_STEPS = 50, 160
RAW_BUDGET = {"lift": 7.0, "can": 4.5, "square": 3.4, "transport": 3.4}
FULL_BUDGET = {"lift": 5.5, "can": 4.0, "square": 3.2, "transport": 3.0}


def recorded(task):
    """(episodes, T, Da) actions, cut to the shortest and to LONGEST_STEPS, and the seeds of their starts."""
    with np.load(EPISODES / f"{task}.npz") as file:
        seeds = [int(name.removeprefix("seed")) for name in file]
        horizon = min(LONGEST_STEPS, *(len(file[name]) for name in file))
        return np.stack([file[name][:horizon] for name in file]).astype(np.float64), seeds


def robosuite_worker(task, number, seconds, barrier, results):
    """Steps per second of one plain robosuite process, resets not counted."""
    from sim.robosuite.env import RobosuiteEnv

    actions, seeds = recorded(task)
    with RobosuiteEnv(task) as env:
        episode, spent, steps = number, 0.0, 0
        env.reset(seeds[episode % len(seeds)])
        env.raw.step(actions[0, 0])
        barrier.wait()
        while spent < seconds:
            env.reset(seeds[episode % len(seeds)])
            start = time.perf_counter()
            for action in actions[episode % len(seeds)]:
                env.raw.step(action)
                steps += 1
            spent += time.perf_counter() - start
            episode += 1
        results.put(steps / spent)


def measure_robosuite(task, seconds):
    """Steps per second of two processes together."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=robosuite_worker, args=(task, i, seconds, barrier, results)) for i in range(2)]
    for worker in workers:
        worker.start()
    rates = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    return sum(rates)


def make_env(task, threads, **options):
    from sim.batch.env import BatchedEnv

    actions, seeds = recorded(task)
    env = BatchedEnv(task, WORLDS, num_threads=threads, horizon_steps=actions.shape[1], **options)
    per_world = np.stack([actions[i % len(seeds)] for i in range(WORLDS)])
    return env, per_world, [seeds[i % len(seeds)] for i in range(WORLDS)]


def measure_raw(task, threads, seconds, **options):
    """Steps per second of the kernel alone."""
    env, actions, seeds = make_env(task, threads, **options)
    one = np.ones(WORLDS, np.int32)
    spent = steps = 0
    with env:
        while spent < seconds:
            env.reset(seed=seeds)
            for t in range(actions.shape[1]):
                start = time.perf_counter()
                env.kernel.step(actions[:, t : t + 1], one)
                spent += time.perf_counter() - start
                steps += WORLDS
    return steps / spent


def measure_full(task, threads, seconds, **options):
    """Steps per second of the environment, resets included; and the time of each step, s."""
    env, actions, seeds = make_env(task, threads, **options)
    times = []
    with env:
        env.reset(seed=seeds)
        while sum(times) < seconds:
            for t in range(actions.shape[1]):
                start = time.perf_counter()
                env.step(actions[:, t])
                times.append(time.perf_counter() - start)
    return len(times) * WORLDS / sum(times), times


def measure_per_core(task, seconds, arithmetic):
    """Steps per second of processor time, robosuite and one thread of batched worlds: fair on a busy machine too."""
    from sim.robosuite.env import RobosuiteEnv

    actions, seeds = recorded(task)
    spent = steps = 0
    with RobosuiteEnv(task) as env:
        env.reset(seeds[0])
        env.raw.step(actions[0, 0])
        while spent < seconds:
            env.reset(seeds[0])
            start = time.process_time()
            for action in actions[0]:
                env.raw.step(action)
            spent, steps = spent + time.process_time() - start, steps + actions.shape[1]
    robosuite = steps / spent
    env, per_world, seeds = make_env(task, 1, arithmetic=arithmetic)
    spent = {"raw": 0.0, "full": 0.0}
    with env:
        env.reset(seed=seeds)
        for t in range(actions.shape[1]):
            start = time.process_time()
            env.kernel.step(per_world[:, t : t + 1], np.ones(WORLDS, np.int32))
            spent["raw"] += time.process_time() - start
        start = time.process_time()
        env.reset(seed=seeds)
        for t in range(actions.shape[1]):
            env.step(per_world[:, t])
        spent["full"] = time.process_time() - start
    rates = {name: WORLDS * actions.shape[1] / value for name, value in spent.items()}
    print(
        f"{task}, per second of one core: robosuite {robosuite:.0f}, raw {rates['raw']:.0f} "
        f"({rates['raw'] / robosuite:.2f}x), full {rates['full']:.0f} ({rates['full'] / robosuite:.2f}x)",
        flush=True,
    )
    return {"robosuite_steps_core_s": robosuite, **{f"{name}_steps_core_s": rate for name, rate in rates.items()}}


def measure_memory_and_start(task):
    """Resident bytes per world, and seconds until 1000 worlds have made their first step."""
    from sim.batch.env import BatchedEnv

    process = psutil.Process()
    start, before = time.perf_counter(), process.memory_info().rss
    with BatchedEnv(task, 1000) as env:
        env.reset(seed=0)
        env.step(np.zeros(env.action_space.shape))
        seconds = time.perf_counter() - start
        for _ in range(10):
            env.step(np.zeros(env.action_space.shape))
        return (process.memory_info().rss - before) / 1000, seconds


def measure(task, rounds, seconds, arithmetic):
    """All figures of one task."""
    pairs, options = [], {"arithmetic": arithmetic}
    for _ in range(rounds):
        robosuite = measure_robosuite(task, seconds)
        raw_two, raw_one = (measure_raw(task, threads, seconds, **options) for threads in (2, 1))
        full, times = measure_full(task, 2, seconds, **options)
        pairs.append((robosuite, raw_two, raw_one, full))
        print(
            f"{task}: robosuite x2 {robosuite:.0f}, raw {raw_two:.0f} (1 thread {raw_one:.0f}), full {full:.0f} steps/s"
        )
    median = np.median(np.array(pairs), axis=0)
    ratios = np.array([(raw / base, full / base, raw / one) for base, raw, one, full in pairs])
    raw, full, scaling = np.median(ratios, axis=0)
    memory, start = measure_memory_and_start(task)
    step_ms = np.percentile(times, [50, 99, 100]) * 1e3
    result = {
        "robosuite_two_processes_steps_s": median[0], "raw_two_threads_steps_s": median[1],
        "raw_one_thread_steps_s": median[2], "full_two_threads_steps_s": median[3],
        "raw_ratio": raw, "raw_budget": RAW_BUDGET[task], "full_ratio": full, "full_budget": FULL_BUDGET[task],
        "scaling_1_to_2": scaling, "scaling_budget": 1.9, "memory_per_world_bytes": memory,
        "start_of_1000_worlds_s": start, "step_of_50_worlds_ms_p50_p99_max": step_ms.tolist(),
        "pairs": pairs,
    }  # fmt: skip
    print(
        f"{task}: raw {raw:.2f}x (wanted {RAW_BUDGET[task]}), full {full:.2f}x (wanted {FULL_BUDGET[task]}), "
        f"1 to 2 threads {scaling:.2f}x (wanted 1.9), {memory / 1024:.0f} KiB per world, 1000 worlds in {start:.1f} s"
    )
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(RAW_BUDGET), choices=list(RAW_BUDGET))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--per-core", action="store_true", help="only the short comparison by processor time")
    parser.add_argument("--arithmetic", choices=["fast", "exact"], default="fast")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench_batch.json")
    arguments = parser.parse_args()
    import mujoco

    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load before {load:.1f}")
    report = {
        "question": __doc__.splitlines()[0], "cores": os.cpu_count(), "load_before": load,
        "mujoco": mujoco.__version__, "worlds": WORLDS, "rounds": arguments.rounds, "arithmetic": arguments.arithmetic,
        "tasks": {
            task: measure_per_core(task, arguments.seconds, arguments.arithmetic)
            if arguments.per_core
            else measure(task, arguments.rounds, arguments.seconds, arguments.arithmetic)
            for task in arguments.tasks
        },
    }  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
