"""Configurations that pre-train and fine-tune on the tiny task in a second."""

from pathlib import Path

from d2ppo_core.config import FinetuneConfig, PretrainConfig, from_mapping
from d2ppo_core.finetune.run import Outcome, finetune
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.pretrain.run import pretrain

from . import tiny_task
from .tiny_task import PointEnv


def pretrain_config(*, images: bool = False, **sections: dict[str, object]) -> PretrainConfig:
    """Small networks that read the tiny task."""
    mapping: dict[str, dict[str, object]] = {
        "data": {
            "low_dim_keys": ["position"] if images else list(tiny_task.KEYS),
            "image_keys": [tiny_task.CAMERA] if images else [],
            "random_shift_px": 0,
        },
        "model": {"vit_width": 16, "vit_heads": 2, "camera_features": 8, "hidden_dim": 32, "time_dim": 8},
        "loss": {"dispersive": "none"},
        "optim": {"steps": 8, "batch_size": 16, "warmup_steps": 2, "ema_start_step": 2},
    }
    for name, values in sections.items():
        mapping[name] = {**mapping.get(name, {}), **values}
    return from_mapping(PretrainConfig, {"name": "tiny", "task": tiny_task.TASK, **mapping})


def finetune_config(**sections: object) -> FinetuneConfig:
    """Eight worlds, two episodes each per iteration; sections replace entries."""
    mapping: dict[str, object] = {"iterations": 4, "threads": 1}
    parts: dict[str, dict[str, object]] = {
        "env": {"num_envs": 8, "chunks_per_iteration": 8, "horizon_steps": tiny_task.HORIZON, "threads": 1},
        "chain": {"num_denoising_steps": 10, "finetuned_steps": 5},
        "ppo": {"epochs": 2, "minibatch_pairs": 100, "critic_warmup_iterations": 1},
        "critic": {"hidden_dim": 16, "layers": 2},
        "success": {"episodes": 8, "every_iterations": 2, "confirm_episodes": 4},
    }
    for name, values in sections.items():
        if isinstance(values, dict):
            parts[name] = {**parts.get(name, {}), **values}
        else:
            mapping[name] = values
    return from_mapping(FinetuneConfig, {"name": "tiny", "task": tiny_task.TASK, **mapping, **parts})


def make_origin(folder: Path, *, images: bool = False) -> Path:
    """Pre-train a little; returns the run's folder."""
    tiny_task.demonstrate(folder / "demos.hdf5", episodes=12, seed=0, images=images)
    pretrain(pretrain_config(images=images), folder / "demos.hdf5", folder / "run", progress=False)
    return folder / "run"


def make_trainer(origin: Path, worlds: PointEnv | None = None, /, **sections: object) -> Trainer:
    """A trainer at its beginning; in worlds of its own unless given."""
    saved = load_run(origin).origin
    images = bool(saved.config.data.image_keys)
    return Trainer(finetune_config(**sections), saved, worlds or PointEnv(8, images=images))


def tune(config: FinetuneConfig, origin: Path, out: Path, *, resume: bool = False) -> Outcome:
    """Fine-tune in worlds of the tiny task."""
    images = bool(load_run(origin).config.data.image_keys)
    worlds = tiny_task.worlds(config.env.num_envs, images=images)
    return finetune(config, origin, worlds, out, resume=resume, progress=False)
