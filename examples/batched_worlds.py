"""Step many worlds at once in a Gymnasium loop: robosuite's dynamics, native threads, no robosuite needed.

python examples/batched_worlds.py
python examples/batched_worlds.py --task can --num-envs 100
"""

import argparse
import time

import numpy as np

from sim.batch.env import BatchedEnv


def main() -> None:
    """Act at random for a while, and print how fast the worlds are and how episodes ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="lift", help="lift, can, square or transport")
    parser.add_argument("--num-envs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    ended = solved = 0
    with BatchedEnv(options.task, options.num_envs, num_threads=1, horizon_steps=30) as env:
        observation, _ = env.reset(seed=0)  # world i takes seed + i
        for name, values in observation.items():
            print(f"{name}: {values.shape} {values.dtype}")
        began = time.perf_counter()
        for _ in range(options.steps):
            actions = rng.uniform(-1.0, 1.0, (options.num_envs, *env.single_action_space.shape)).astype(np.float32)
            observation, rewards, terminated, truncated, info = env.step(actions)
            ended += int((terminated | truncated).sum())  # a world that ends starts anew within the same step
            solved += int(info["success"].sum())
        seconds = time.perf_counter() - began
    print(f"{options.steps * options.num_envs / seconds:.0f} control steps per second, {ended} episodes ended")
    print(f"worlds solved at random: {solved}; last rewards add up to {rewards.sum():g}")


if __name__ == "__main__":
    main()
