"""A pre-trained run of a second, and what was drawn from its dataset."""

from collections.abc import Callable
from pathlib import Path

import pytest

from d2ppo_core.analysis.samples import Sample, draw_sample
from d2ppo_core.config import PretrainConfig
from d2ppo_core.pretrain.checkpoint import Checkpoint, load_checkpoint
from d2ppo_core.pretrain.run import pretrain


@pytest.fixture
def run_folder(dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path) -> Path:
    """A state policy trained with the dispersive term at `mid`; its last demonstration was held out."""
    config = tiny_config(loss={"dispersive_tap": "mid"}, data={"validation_episodes": 1})
    pretrain(config, dataset, tmp_path / "run", progress=False)
    return tmp_path / "run"


@pytest.fixture
def saved(run_folder: Path) -> Checkpoint:
    return load_checkpoint(run_folder)


@pytest.fixture
def sample(saved: Checkpoint, dataset: Path) -> Sample:
    """All windows that the run trained on."""
    return draw_sample(dataset, saved, size=1000, seed=0)
