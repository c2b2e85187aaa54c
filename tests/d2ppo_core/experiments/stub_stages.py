"""Stages that train nothing: tiny run folders, and episodes of which a known number is solved."""

from pathlib import Path
from typing import Any

import torch

from d2ppo_core.config import FinetuneConfig, PretrainConfig, save_config
from d2ppo_core.data.normalizer import Normalizer
from d2ppo_core.finetune import checkpoint as finetuned
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.models.build import Shapes
from d2ppo_core.pretrain import checkpoint as pretrained

ITERATION_STEPS = 1000


class StubStages:
    """Notes what it was asked for; stops before the end of a stage when `stop_in` names it."""

    def __init__(self, successes: dict[str, int] | None = None, stop_in: str = "") -> None:
        self.calls: list[tuple[str, str, bool]] = []
        self.successes, self.stop_in = successes or {}, stop_in

    def pretrain(self, config: PretrainConfig, data: Path, out: Path, *, resume: bool) -> bool:
        finished = self._enter("pretrain", out, resume)
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, out / "config.yaml")
        ranges = {"state_center": [0.0], "state_half": [1.0], "action_center": [0.0] * 7, "action_half": [1.0] * 7}
        checkpoint = pretrained.Checkpoint(
            config=config,
            normalizer=Normalizer.from_mapping(ranges),
            shapes=Shapes(state_dim=1, action_dim=7),
            low_dim_sizes=(1,),
            dataset={"file": data.name, "sha256": "abcdef0123456789", "num_windows": 1, "num_episodes": 1},
            code={"commit": "c0ffee0123456789"},
            step=config.optim.steps if finished else config.optim.steps // 2,
            elapsed_s=10.0,
            model={},
            ema={},
            optimizer={},
            rng_state=torch.get_rng_state(),
        )
        pretrained.save_checkpoint(checkpoint, out)
        return finished

    def finetune(self, config: FinetuneConfig, origin: Path, out: Path, *, resume: bool) -> bool:
        finished = self._enter("finetune", out, resume)
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, out / "config.yaml")
        iteration = config.iterations if finished else config.iterations // 2
        checkpoint = finetuned.FinetuneCheckpoint(
            config=config,
            origin=load_run(origin).origin,
            code={"commit": "decaf"},
            iteration=iteration,
            env_steps=ITERATION_STEPS * iteration,
            elapsed_s=20.0,
            learner={"ema": {}, "actor": {}},
            best={},
        )
        finetuned.save_checkpoint(checkpoint, out)
        (out / "metrics.csv").write_text(
            "iteration,success/start,success/ema,rollout/env_steps\n1,0.25,,1000\n2,,0.5,2000\n4,,0.75,4000\n"
        )
        return finished

    def evaluate(self, folder: Path, seeds: range) -> dict[str, Any]:
        self._enter("evaluate", folder, False)
        solved = self.successes.get(folder.parent.parent.name, 0)
        row: dict[str, Any] = {"successes": solved, "seeds": list(seeds), "where": "batched", "wall_s": 2.5}
        return row

    def _enter(self, stage: str, folder: Path, resume: bool) -> bool:
        cell, seed = folder.parent.parent.name, folder.parent.name
        self.calls.append((stage, f"{cell}/{seed}", resume))
        return stage != self.stop_in
