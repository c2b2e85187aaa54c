"""How long does one optimiser step of an image policy take on this CPU?

Random images, one camera of 96x96, batch 128, four (t, noise) pairs per observation. Prints one JSON line per variant.

    python tests/benchmarks/bench_pretrain.py --threads 1
"""

import argparse
import json
import time

import numpy as np
import torch

from d2ppo_core.config import load_config
from d2ppo_core.data.windows import Windows
from d2ppo_core.pretrain.device import keep_freed_memory
from d2ppo_core.pretrain.trainer import Trainer

WARM_UP = 3


def random_windows(count: int) -> Windows:
    """Windows of the right shapes."""
    rng = np.random.default_rng(0)
    return Windows(
        state=rng.normal(size=(count, 9)).astype(np.float32),
        chunks=rng.uniform(-1, 1, (count, 4, 7)).astype(np.float32),
        images=rng.integers(0, 256, (count, 1, 96, 96, 3), dtype=np.uint8),
        low_dim_sizes=(3, 4, 2),
        num_episodes=1,
    )


def main() -> None:
    """Time both stems in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    windows = random_windows(512)
    for stem in ("plain", "overlap"):
        for precision in ("float32", "bfloat16"):
            config = load_config("lift_image", [f"model.stem={stem}", f"optim.precision={precision}"])
            trainer = Trainer(config, windows, None, {"sha256": ""})
            seconds = []
            for _ in range(WARM_UP + arguments.iterations):
                began_s = time.perf_counter()
                trainer.train_step(detailed=False)
                seconds.append(time.perf_counter() - began_s)
            p50, p99 = np.percentile(seconds[WARM_UP:], [50, 99])
            result = {"stem": stem, "precision": precision, "threads": arguments.threads, "batch": 128}
            print(
                json.dumps(result | {"p50_s": round(p50, 4), "p99_s": round(p99, 4), "max_s": round(max(seconds), 4)})
            )


if __name__ == "__main__":
    main()
