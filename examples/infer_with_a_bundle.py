"""Load a bundle and ask it for a chunk of actions: no robot, no ROS, no torch.

python examples/infer_with_a_bundle.py
python examples/infer_with_a_bundle.py --bundle path/to/bundle
"""

import argparse
import time

import numpy as np

from d2ppo_core.bundle import load_bundle
from d2ppo_core.runtime.inference.policy import Policy


def main() -> None:
    """Verify the bundle, infer from its own example and from random observations, and print how long it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="lift_state", help="name of a shipped bundle, or a path")
    bundle = load_bundle(parser.parse_args().bundle)  # checksums are verified here

    policy = Policy(bundle)  # and here that the graph reproduces the bundle's own example
    manifest = policy.manifest
    print(f"{manifest.name}: {manifest.action.representation} at {manifest.action.control_hz:g} Hz, K = ", end="")
    print(f"{manifest.num_denoising_steps}, hash {bundle.hash}")
    for spec in manifest.observations:
        print(f"  reads {spec.key} {spec.shape} {spec.unit}, frame {spec.frame}")

    rng = np.random.default_rng(0)
    inputs = dict(bundle.golden.inputs)
    times_us = []
    for _ in range(50):
        inputs["noise"] = rng.standard_normal(inputs["noise"].shape, dtype=np.float32)
        began = time.perf_counter()
        chunk = policy.infer(inputs)  # (Tp, Da)
        times_us.append(1e6 * (time.perf_counter() - began))
    print(f"a chunk of {chunk.shape[0]} actions in {np.median(times_us):.0f} us; the last: {np.round(chunk[-1], 2)}")


if __name__ == "__main__":
    main()
