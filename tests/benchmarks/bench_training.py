"""Question: how much less time do the training loops take than the published ones, on one CPU thread?

Against `published/`, a straightforward PyTorch implementation of the published loops, written for this benchmark; both
run alternately in one process (A B A B ...). Per row: wall time, and processor time of this process, which is fair on a
busy machine too; the ratio is the median over pairs. Beside them stand the figures that the published code itself gave
on one core of this class of machine. The data are random and have the shapes of Lift; the networks are those of the
shipped configurations, `same_network` rows take the published stem in float32. Before anything is timed, `agreement`
loads one set of weights into both and compares losses and gradients.

    python tests/benchmarks/bench_training.py [--rows ppo rollout_image ...] [--seconds 20] [--out file.json]
    python tests/benchmarks/bench_training.py --iteration [--clone runs/lift_state] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from training_rows import ROWS, agreement, pretrain_config, random_windows  # noqa: E402

from d2ppo_core.config import FinetuneConfig, from_mapping  # noqa: E402
from d2ppo_core.envs import AutoresetMode  # noqa: E402
from d2ppo_core.pretrain.device import keep_freed_memory  # noqa: E402
from d2ppo_core.pretrain.trainer import Trainer  # noqa: E402

WARM_UP = 2
ITERATION_BUDGET_S = 75.0


def spend(work, calls=1):
    """(wall, processor) ms per call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        work()
    return (time.perf_counter() - wall) * 1e3 / calls, (time.process_time() - cpu) * 1e3 / calls


def measure(name, row, seconds, least_pairs):
    """Alternate until the processor time is spent, `least_pairs` times at least."""
    published, ours = row.build()
    for _ in range(WARM_UP):
        published(), ours()
    pairs = []
    while len(pairs) < least_pairs or sum(a[1] + b[1] for a, b in pairs) * row.calls < seconds * 1e3:
        pairs.append((spend(published, row.calls), spend(ours, row.calls)))
    times = np.array(pairs)  # (pair, published or ours, wall or processor)
    p50, p99 = np.percentile(times, 50, axis=0), np.percentile(times, 99, axis=0)
    wall, cpu = np.median(times[:, 0] / times[:, 1], axis=0)
    met = bool(cpu >= row.wanted and p50[1, 1] <= row.most_ms)
    sides = {
        side: {"wall_ms_p50_p99": [p50[i, 0], p99[i, 0]], "cpu_ms_p50_p99": [p50[i, 1], p99[i, 1]]}
        for i, side in enumerate(("published", "ours"))
    }
    print(
        f"{name:40s} published {p50[0, 1]:8.1f} ms (its own code {row.published_ms or '?'}), ours {p50[1, 1]:8.1f} ms, "
        f"ratio by processor time {cpu:5.2f}, by the clock {wall:5.2f}, wanted {row.wanted or '-'}"
        f"{'' if met else ', MISSED'} [{len(pairs)} pairs]",
        flush=True,
    )
    return sides | {
        "published_code_ms": row.published_ms, "ratio_cpu": cpu, "ratio_wall": wall, "wanted": row.wanted,
        "budget_ms": row.most_ms, "met": met, "warm_up": WARM_UP, "pairs": len(pairs), "calls_per_turn": row.calls,
    }  # fmt: skip


def measure_iteration(clone, threads, repeats):
    """Whole iterations of fine-tuning on Lift: 50 worlds x 300 chunks x 4 actions, 10 epochs of 20 minibatches."""
    from d2ppo_core.finetune.runs import load_run
    from d2ppo_core.finetune.trainer import Trainer as Finetuning
    from sim.cli.finetune import worlds_of

    torch.set_num_threads(threads)
    config = from_mapping(
        FinetuneConfig,
        {"name": "b", "task": "lift", "threads": threads, "env": {"threads": threads},
         "ppo": {"critic_warmup_iterations": 0, "target_kl": 1e9}},
    )  # fmt: skip
    if clone:
        origin = load_run(clone).origin
    else:
        trainer = Trainer(pretrain_config(False), random_windows(False), None, {"sha256": ""})
        for _ in range(100):
            trainer.train_step(detailed=False)
        origin = trainer.checkpoint()
    rows = []
    with worlds_of(config, image_size_px=0)(AutoresetMode.SAME_STEP) as env:
        tuning = Finetuning(config, origin, env)
        for _ in range(repeats):
            found = {}
            wall, cpu = spend(lambda found=found: found.update(tuning.iterate()))
            rows.append(
                {"wall_s": wall / 1e3, "cpu_s": cpu / 1e3, "collect_s": found["speed/collect_s"],
                 "update_s": found["speed/update_s"], "minibatches": found["ppo/minibatches"]}
            )  # fmt: skip
            print(f"iteration: {json.dumps({k: round(v, 1) for k, v in rows[-1].items()})}", flush=True)
    best = min(row["wall_s"] for row in rows)
    print(
        f"iteration of 60 000 control steps: {best:.1f} s on {threads} threads (wanted <= {ITERATION_BUDGET_S:.0f} s)"
    )
    return {"rows": rows, "threads": threads, "env_steps": 60_000, "best_s": best, "budget_s": ITERATION_BUDGET_S}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="names or their beginnings")
    parser.add_argument("--seconds", type=float, default=20.0, help="processor time per row")
    parser.add_argument("--least-pairs", type=int, default=10)
    parser.add_argument("--iteration", action="store_true", help="only whole iterations of fine-tuning")
    parser.add_argument("--clone", type=Path, help="folder of a pre-training; default: a hundred steps on random data")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="of --iteration; the rows always take one")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench_training.json")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load before {load:.1f}")
    keep_freed_memory()
    torch.set_num_threads(1)
    report = {
        "question": __doc__.splitlines()[0], "cores": os.cpu_count(), "load_before": load, "torch": torch.__version__,
    }  # fmt: skip
    if arguments.iteration:
        report["iteration"] = measure_iteration(arguments.clone, arguments.threads, arguments.repeats)
    else:
        report["agreement"] = {name: agreement(name == "image") for name in ("state", "image")}
        for name, gaps in report["agreement"].items():
            print(f"agreement, {name}: " + ", ".join(f"{key} {value:.1e}" for key, value in gaps.items()), flush=True)
        wanted = [name for name in ROWS if name.startswith(tuple(arguments.rows))]
        report["rows"] = {name: measure(name, ROWS[name], arguments.seconds, arguments.least_pairs) for name in wanted}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
