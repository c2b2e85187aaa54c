"""Question: how long does one optimiser step of pre-training take, and what do its options cost?

Shipped configurations of Lift with the published batch (256 observations, one noise each) on random data of the right
shapes, one thread. All variants take turns of a few steps, so that a busy machine slows all of them down and each finds
its own weights in the cache; processor time beside wall time. `logged` is a step that looks at all taps.
`bench_training.py` compares with the published loop.

    python tests/benchmarks/bench_pretrain.py [--only state image] [--steps 80] [--device cpu] [--out file.json]
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from d2ppo_core.config import load_config
from d2ppo_core.data.windows import Windows
from d2ppo_core.pretrain.device import keep_freed_memory
from d2ppo_core.pretrain.trainer import Trainer

ROOT = Path(__file__).parents[2]
TURN, WARM_UP = 10, 2
"""Steps in a row, and how many of them are not counted."""
PLAIN, FLOAT32, OFF = "loss.noise_samples_per_obs=1", "optim.precision=float32", "loss.dispersive=none"
TERM, PUBLISHED = "loss.dispersive=infonce_l2", "loss.dispersive_form=published"
VARIANTS = {
    "state": ("lift_state", (OFF,), 8.0),
    "state float32": ("lift_state", (OFF, FLOAT32), None),
    "state dispersive": ("lift_state", (TERM,), None),
    "state dispersive late": ("lift_state", (TERM, "loss.dispersive_tap=late"), None),
    "state dispersive raw": ("lift_state", (TERM, "loss.dispersive_form=raw"), None),
    "state dispersive equal t": ("lift_state", (TERM, "loss.dispersive_equal_t=true"), None),
    "state published": ("lift_state", (TERM, PUBLISHED), None),
    "image": ("lift_image", (OFF,), 850.0),
    "image float32": ("lift_image", (OFF, FLOAT32), None),
    "image dispersive": ("lift_image", (), 1000.0),
    "image dispersive late": ("lift_image", ("loss.dispersive_tap=late",), 1000.0),
    "image published": ("lift_image", (PUBLISHED, PLAIN, "loss.dispersive_tap=late"), None),
    "image published stem": ("lift_image", ("model.stem=overlap",), None),
}
"""Name -> configuration, overrides and budget in ms of processor time."""


def random_windows(*, images: bool) -> Windows:
    """Training data with the shapes of Lift."""
    rng = np.random.default_rng(0)
    count = 600 if images else 14_000
    return Windows(
        state=rng.uniform(-1, 1, (count, 9 if images else 19)).astype(np.float32),
        chunks=rng.uniform(-1, 1, (count, 4, 7)).astype(np.float32),
        images=rng.integers(0, 256, (count, 1, 96, 96, 3), dtype=np.uint8) if images else None,
        low_dim_sizes=(3, 4, 2) if images else (3, 4, 2, 10),
        num_episodes=1,
    )


def spend(trainer: Trainer, *, detailed: bool) -> tuple[float, float]:
    """(wall, processor) ms of one step."""
    wall, cpu = time.perf_counter(), time.process_time()
    trainer.train_step(detailed=detailed)
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def measure(kind: str, steps: int, device: str) -> dict[str, dict[str, object]]:
    """Figures of all variants of `state` or `image`."""
    windows, trainers = random_windows(images=kind == "image"), {}
    for name, (config, overrides, _) in VARIANTS.items():
        if name.startswith(kind):
            settings = [PLAIN, "optim.batch_size=256", f"optim.device={device}", *overrides]
            trainers[name] = Trainer(load_config(config, settings), windows, None, {"sha256": ""})
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    turn = TURN if kind == "state" else WARM_UP + 1
    while len(next(reversed(times.values()))) < steps:
        for name, trainer in trainers.items():
            times[name] += [spend(trainer, detailed=False) for _ in range(turn)][WARM_UP:]
    results: dict[str, dict[str, object]] = {}
    for name, pairs in times.items():
        wall, cpu = (np.percentile(column, [50, 99, 100]) for column in np.array(pairs).T)
        logged = float(np.median([spend(trainers[name], detailed=True)[1] for _ in range(3)]))
        budget = VARIANTS[name][2]
        late = "" if budget is None else f", budget {budget:.0f}{'' if cpu[0] <= budget else ' MISSED'}"
        print(f"{name:26s} processor p50 {cpu[0]:8.1f} ms{late}; wall {wall[0]:8.1f}; logged {logged:8.1f}", flush=True)
        results[name] = {
            "cpu_ms_p50_p99_max": cpu.tolist(), "wall_ms_p50_p99_max": wall.tolist(), "logged_cpu_ms": logged,
            "budget_cpu_ms": budget, "steps": steps,
        }  # fmt: skip
    return results


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["state", "image"], choices=["state", "image"])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench_pretrain.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load before {load:.1f}, torch {torch.__version__}")
    report: dict[str, object] = {
        "load_before": load,
        "torch": torch.__version__,
        "threads": 1,
        "turn": TURN,
        "warm_up": WARM_UP,
    }
    for kind in arguments.only:
        report |= measure(kind, arguments.steps if kind == "state" else max(5, arguments.steps // 16), arguments.device)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
