"""Write a data set in robomimic's layout and read it back: what a recorder of your own has to do.

python examples/read_and_write_data.py
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from d2ppo_core.data.episodes import Episode, EpisodeReader, EpisodeWriter

ENV_ARGS = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
KEYS = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}


def recorded(steps: int, rng: np.random.Generator) -> Episode:
    """Stand in for your robot: the observations before each step and the action that was sent."""
    solved = np.zeros(steps)
    solved[-1] = 1.0
    return Episode(
        actions=rng.uniform(-1.0, 1.0, (steps, 7)),
        rewards=solved,
        dones=solved.astype(np.int64),
        states=np.zeros((steps, 1)),
        observations={
            **{key: rng.standard_normal((steps, size)) for key, size in KEYS.items()},
            "robot0_eye_in_hand_image": rng.integers(0, 256, (steps, 96, 96, 3), dtype=np.uint8),
        },
        attributes={"operator": "nobody"},
    )


def main() -> None:
    """Write three episodes, name a subset, and read everything again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep the file here")
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = parser.parse_args().out or Path(folder) / "mine.hdf5"
        with EpisodeWriter(path, env_args=ENV_ARGS, recording={"by": "examples/read_and_write_data.py"}) as writer:
            names = [writer.append(recorded(steps, rng)) for steps in (20, 25, 30)]
            writer.write_filter("valid", names[-1:])
        with EpisodeReader(path, env_name="Lift") as reader:
            for episode in reader.episodes(keys=["robot0_eef_pos"]):
                print(f"{len(episode)} steps, actions {episode.actions.shape}, ", end="")
                print(f"first position {np.round(episode.observations['robot0_eef_pos'][0], 2)}")
        with EpisodeReader(path, filter_key="valid") as reader:
            print(f"subset 'valid' holds {len(reader)} of {len(names)}")
    print("train on such a file with: d2ppo pretrain lift --config lift_image --data mine.hdf5")


if __name__ == "__main__":
    main()
