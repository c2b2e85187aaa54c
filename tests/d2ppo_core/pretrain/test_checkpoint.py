from pathlib import Path

import pytest
import torch

from d2ppo_core.errors import TrainingError
from d2ppo_core.pretrain.checkpoint import FILE_NAME, load_checkpoint


def test_a_folder_without_checkpoint_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint.pt; start a run there"):
        load_checkpoint(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)


def test_a_foreign_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / FILE_NAME)
    with pytest.raises(TrainingError, match="wanted checkpoint format 1"):
        load_checkpoint(tmp_path)


def test_a_file_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "config": Path("/")}, tmp_path / FILE_NAME)
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)
