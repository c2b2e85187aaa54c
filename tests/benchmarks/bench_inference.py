"""How long does one chunk take in ONNX Runtime, hot and paced at 20 Hz, on one thread?

    python tests/benchmarks/bench_inference.py lift_image

Budget: p50 hot <= 1.5 ms for one camera. Prints one JSON line per pace.
"""

import argparse
import json
import time

import numpy as np

from d2ppo_core.bundle import load_bundle
from d2ppo_core.runtime.inference.policy import Policy

WARM_UP = 50
PACE_S = 0.05


def measure(policy: Policy, iterations: int, pause_s: float) -> dict[str, float]:
    """Latency percentiles in microseconds."""
    inputs = policy.bundle.golden.inputs
    for _ in range(WARM_UP):
        policy.infer(inputs)
    seconds = []
    for _ in range(iterations):
        time.sleep(pause_s)
        began_s = time.perf_counter()
        policy.infer(inputs)
        seconds.append(time.perf_counter() - began_s)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
    return {"p50_us": round(p50), "p99_us": round(p99), "max_us": round(max(seconds) * 1e6)}


def main() -> None:
    """Time the bundle named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--iterations", type=int, default=1000)
    arguments = parser.parse_args()
    policy = Policy(load_bundle(arguments.bundle))
    print(json.dumps({"pace": "hot"} | measure(policy, arguments.iterations, 0.0)))
    print(json.dumps({"pace": "20 Hz"} | measure(policy, arguments.iterations // 5, PACE_S)))


if __name__ == "__main__":
    main()
