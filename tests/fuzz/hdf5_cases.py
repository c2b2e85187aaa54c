"""Odd files of demonstrations and what is done with them; a process of its own, as HDF5's library may end with it.

python hdf5_cases.py FOLDER FIRST COUNT prints `N` before each step of a case and `N reason` after the case.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from d2ppo_core.config import DataConfig
from d2ppo_core.data.episodes import Episode, EpisodeReader, EpisodeWriter
from d2ppo_core.data.lerobot import export_lerobot
from d2ppo_core.data.rewrite import rewrite
from d2ppo_core.data.summary import summarize
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import D2ppoError

ENV_ARGS = {"env_name": "Lift", "env_version": "1.5.2", "type": 1, "env_kwargs": {"control_freq": 20}}
KEYS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")
CAMERA = "robot0_eye_in_hand_image"
SIZES = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 10}
STATES = DataConfig(low_dim_keys=KEYS, validation_episodes=1, pred_horizon=2, action_horizon=2)
PICTURES = DataConfig(
    low_dim_keys=KEYS[:3], image_keys=(CAMERA,), filter_key="train", pred_horizon=2, action_horizon=2,
    validation_episodes=0,
)  # fmt: skip
GOALS = DataConfig(
    low_dim_keys=KEYS, action_representation="ee_absolute", base_yaw_rad=(0.0,), validation_episodes=0,
    pred_horizon=2, action_horizon=2,
)  # fmt: skip


def write_sound(path: Path) -> None:
    """Three demonstrations of 3, 4 and 5 steps, with pictures and a subset."""
    with EpisodeWriter(path, env_args=ENV_ARGS, recording={"task": "lift", "seed": 1}) as writer:
        for number in range(3):
            steps = 3 + number
            low_dim = {key: np.full((steps, size), 0.1 + number) for key, size in SIZES.items()}
            writer.append(
                Episode(
                    actions=np.full((steps, 7), 0.1 * number),
                    rewards=np.eye(steps)[-1],
                    dones=np.eye(steps, dtype=np.int64)[-1],
                    states=np.full((steps, 5), float(number)),
                    observations={**low_dim, CAMERA: np.full((steps, 16, 16, 3), 40 * number, np.uint8)},
                    next_observations=low_dim,
                    model_xml="<mujoco/>",
                    attributes={"attempt": number, "seed": 7 + number},
                )
            )
        writer.write_filter("train", ["demo_0", "demo_2"])


def damage_bytes(path: Path, rng: np.random.Generator) -> None:
    """Overwrite, cut out, double or zero a few places, most of them where the file's own tables are."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 8)):
        at, length = int(rng.integers(0, len(data))), int(rng.integers(1, 17))
        kind = rng.integers(0, 10)
        if kind < 5:
            data[at : at + length] = rng.bytes(length)
        elif kind < 7:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 7:
            data[at : at + length] = bytes(length) if rng.random() < 0.5 else b"\xff" * length
        elif kind == 8:
            data[at : at + length] = b""
        else:
            data[at:at] = data[at : at + length]
    if rng.random() < 0.05:
        del data[int(rng.integers(0, len(data))) :]
    path.write_bytes(data)


def _odd_values(rng: np.random.Generator) -> list[Any]:
    steps = int(rng.integers(0, 6))
    return [
        np.full((steps, 7), np.nan),
        np.full((3, 7), 1e300),
        np.zeros((steps, 3)),
        np.zeros((steps, 10)),
        np.zeros(steps),
        np.zeros((steps, 0)),
        np.zeros((3, 16, 16, 3)),
        np.full((3, 16, 16, 3), 300.0),
        np.zeros((3, 16, 16, 1), np.uint8),
        np.zeros((3, 7, 9, 3), np.uint8),
        np.zeros((3, 4), complex),
        np.zeros((3, 4), bool),
        np.zeros((3, 4), np.float16),
        np.array([b"a", b"bc", b"\xe4"]),
        np.array(["a", "b", "c"], dtype=h5py.string_dtype()),
        3.5,
        -1,
        "words",
        b"\xe4\xf6",
        h5py.Empty("f8"),
        np.zeros((3, 2), [("a", "f8"), ("b", "i4")]),
        np.array([], "S1"),
        np.zeros((3, 7), np.int8),
        json.dumps([1]),
        json.dumps({"env_name": ["Lift"], "env_kwargs": [3]}),
        "null",
        '{"env_name": "Lift"}',
        "[" * 9999,
        json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": "fast"}}),
        np.full(3, "demo_9", "S6"),
        json.dumps(
            {
                "env_name": "Lift",
                "env_kwargs": {"control_freq": -3, "controller_configs": {"type": "OSC_POSE", "control_delta": False}},
            }
        ),
    ]


def change_content(path: Path, rng: np.random.Generator) -> None:
    """Delete, rename, replace or add a few members, attributes and links, as programs and people do."""
    with h5py.File(path, "a") as file:
        for _ in range(rng.integers(1, 4)):
            places: list[str] = []
            file.visit(places.append)
            if not places:
                return
            name, values = str(rng.choice(places)), _odd_values(rng)
            kind, value = int(rng.integers(0, 8)), values[int(rng.integers(len(values)))]
            if kind == 0:
                del file[name]
            elif kind <= 2:
                del file[name]
                file[name] = value
            elif kind <= 4:
                holder = file[name] if rng.random() < 0.3 else file["data"] if "data" in file else file
                keys = list(holder.attrs) or ["env_args"]
                key = str(rng.choice([*keys, "recording", "num_samples", "model_file"]))
                if rng.random() < 0.3:
                    holder.attrs.pop(key, None)
                else:
                    holder.attrs[key] = value
            elif kind == 5:
                file.move(name, f"{name}{rng.choice(['_old', '_³', ' 7', '_007', '_99999999999999999999'])}")
            elif kind == 6:
                links = (h5py.SoftLink("/nowhere"), h5py.ExternalLink("gone.hdf5", "/data"), h5py.SoftLink("/data"))
                parent = file[name] if isinstance(file[name], h5py.Group) else file
                parent[str(rng.choice(["demo_9", "meta", "obs", "actions", "x"])) + str(rng.integers(99))] = links[
                    int(rng.integers(3))
                ]
            else:
                parent = file[name] if isinstance(file[name], h5py.Group) else file
                parent.create_dataset(
                    f"x{rng.integers(99)}", shape=(10**9, 3), chunks=(1000, 3), dtype="f8", compression="gzip"
                )


def use(path: Path, out: Path, number: int, on_step: Callable[[], None] = lambda: None) -> str:
    """Do with a file what the verbs do; the reasons why it was refused. Anything but a D2ppoError gets out."""
    verbs: list[Callable[[], object]] = [
        lambda: summarize(path).encode(),
        lambda: load_windows(path, STATES, env_name="Lift"),
        lambda: load_windows(path, PICTURES),
        lambda: load_windows(path, GOALS),
        lambda: [len(EpisodeReader(path).read("demo_1", next_observations=True))],
        lambda: rewrite(path, out / f"{number}.hdf5"),
        lambda: EpisodeWriter(path, env_args=ENV_ARGS, recording={"task": "lift", "seed": 1}).close(),
    ]
    if number % 4 == 0:
        verbs.append(lambda: json.loads((_export(path, out / str(number)) / "meta/stats.json").read_text()))
    reasons = []
    for verb in verbs:
        on_step()
        try:
            verb()
        except D2ppoError as error:
            text = str(error)
            if "\n" in text or path.name not in text or not 20 < len(text) < 700:
                raise AssertionError(f"no good reason: {text!r}") from error
            text.encode()
            reasons.append(text)
    return " | ".join(reasons)


def _export(path: Path, out: Path) -> Path:
    export_lerobot(path, out)
    return out


def main() -> None:
    """See the module."""
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    sound = (folder / "sound.hdf5").read_bytes()
    for number in range(first, first + count):
        path = folder / f"case_{number}.hdf5"
        path.write_bytes(sound)
        rng = np.random.default_rng(number)
        (damage_bytes if number % 2 else change_content)(path, rng)
        print(number, use(path, folder / "out", number, partial(print, number, flush=True)) or "read", flush=True)
        path.unlink()


if __name__ == "__main__":
    main()
