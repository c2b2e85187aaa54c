"""Question: how much faster are batched worlds with camera observations than robosuite with its own cameras?

One process each, alternately in one run, 96x96 pixels, the task's cameras, recorded expert actions. A: robosuite's
`step` with `use_camera_obs`, a picture every control step. B1: the batched environment, a picture every control step
too. B2: chunks of the task's action horizon, a picture where the next chunk needs one. Budget: B2 >= 3 A.

    python tests/benchmarks/bench_pictures.py [--tasks lift ...] [--rounds 3] [--out file.json]
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("MUJOCO_GL", "egl")

from bench_batch import recorded  # noqa: E402

CHUNK = {"lift": 4, "can": 4, "square": 4, "transport": 8}
SIZE_PX, WORLDS, WARM_UP_STEPS, BUDGET = 96, 8, 3, 3.0


def rate_of(step, steps_per_call, seconds):
    """Control steps per second of repeated calls, after a warm-up; and the time of each call, s."""
    for _ in range(WARM_UP_STEPS):
        step()
    times = []
    while sum(times) < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return steps_per_call * len(times) / sum(times), times


def measure_robosuite(task, seconds):
    from sim.robosuite.env import RobosuiteEnv, task_of

    cameras = list(task_of(task).cameras)
    options = {"has_offscreen_renderer": True, "use_camera_obs": True, "camera_names": cameras}
    actions, seeds = recorded(task)
    with RobosuiteEnv(task, camera_heights=SIZE_PX, camera_widths=SIZE_PX, **options) as env:
        env.reset(seeds[0])
        played = iter(np.concatenate([actions[0]] * 50))
        rate, _ = rate_of(lambda: env.raw.step(next(played)), 1, seconds)
        return rate


def measure_batched(task, chunk, seconds):
    from sim.batch.env import BatchedEnv

    actions, seeds = recorded(task)
    with BatchedEnv(task, WORLDS, images=True, image_size_px=SIZE_PX) as env:
        env.reset(seed=[seeds[i % len(seeds)] for i in range(WORLDS)])
        played = np.stack([actions[i % len(seeds)] for i in range(WORLDS)])
        at = iter(range(0, 10**9, chunk))

        def step():
            t = next(at) % (played.shape[1] - chunk)
            env.step_chunk(played[:, t : t + chunk])

        return rate_of(step, WORLDS * chunk, seconds)


def measure(task, rounds, seconds):
    pairs = []
    for _ in range(rounds):
        robosuite = measure_robosuite(task, seconds)
        single, _ = measure_batched(task, 1, seconds)
        chunked, times = measure_batched(task, CHUNK[task], seconds)
        pairs.append((robosuite, single, chunked))
    robosuite, single, chunked = np.median(np.array(pairs), axis=0)
    every, chunks = np.median([(one / base, many / base) for base, one, many in pairs], axis=0)
    p50, p99, worst = np.percentile(times, [50, 99, 100]) * 1e3
    print(
        f"{task}: robosuite {robosuite:.0f}, picture every step {single:.0f} ({every:.1f}x), chunks of {CHUNK[task]} "
        f"{chunked:.0f} steps/s ({chunks:.1f}x, wanted {BUDGET}); p50 {p50:.0f} p99 {p99:.0f} max {worst:.0f} ms",
        flush=True,
    )
    return {
        "robosuite_steps_s": robosuite, "every_step_steps_s": single, "chunked_steps_s": chunked,
        "every_step_ratio": every, "chunked_ratio": chunks, "budget": BUDGET, "pairs": pairs,
        "chunk_of_8_worlds_ms_p50_p99_max": [p50, p99, worst],
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(CHUNK), choices=list(CHUNK))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench_pictures.json")
    arguments = parser.parse_args()
    report = {
        "question": __doc__.splitlines()[0], "cores": os.cpu_count(), "load_before": os.getloadavg()[0],
        "size_px": SIZE_PX, "worlds": WORLDS,
        "tasks": {task: measure(task, arguments.rounds, arguments.seconds) for task in arguments.tasks},
    }  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
