import dataclasses
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from d2ppo_core.errors import TrainingError
from d2ppo_core.finetune.checkpoint import FILE_NAME, FinetuneCheckpoint, load_checkpoint, save_checkpoint

from .tiny_runs import make_trainer


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """No file grows beyond this: the operating system refuses in the middle of a write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def saved(origin: Path) -> FinetuneCheckpoint:
    """After two iterations, the second of which trains the actor."""
    trainer = make_trainer(origin)
    for _ in range(2):
        trainer.iterate()
    trainer.take_best(0.5)
    return trainer.checkpoint()


def test_everything_is_read_back_as_it_was(saved: FinetuneCheckpoint, tmp_path: Path) -> None:
    assert save_checkpoint(saved, tmp_path) == tmp_path / FILE_NAME
    read = load_checkpoint(tmp_path)
    for name in ("config", "code", "iteration", "env_steps", "elapsed_s"):
        assert getattr(read, name) == getattr(saved, name), name
    assert read.learner["reward_scale"] == saved.learner["reward_scale"]
    assert read.learner["steps"] == saved.learner["steps"] > 0
    assert (read.best["success"], read.best["iteration"]) == (0.5, 2)
    for part in ("actor", "ema", "critic"):
        for key, value in saved.learner[part].items():
            assert torch.equal(read.learner[part][key], value), (part, key)
    for key, value in saved.origin.ema.items():
        assert torch.equal(read.origin.ema[key], value), key


def test_the_origin_comes_along_without_its_optimiser(saved: FinetuneCheckpoint, tmp_path: Path) -> None:
    assert saved.origin.optimizer
    save_checkpoint(saved, tmp_path)
    origin = load_checkpoint(tmp_path).origin
    assert origin.optimizer == {}
    assert origin.config == saved.origin.config and origin.dataset == saved.origin.dataset
    assert origin.normalizer.to_mapping() == saved.origin.normalizer.to_mapping()


def test_a_full_disk_costs_nothing_that_was_there(saved: FinetuneCheckpoint, tmp_path: Path) -> None:
    with full_disk(20_000), pytest.raises(TrainingError, match="cannot save iteration 2 .* there is none yet") as error:
        save_checkpoint(saved, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
    save_checkpoint(saved, tmp_path)
    later = dataclasses.replace(saved, iteration=3)
    with full_disk(20_000), pytest.raises(TrainingError, match="File too large; the one before is kept"):
        save_checkpoint(later, tmp_path)
    assert load_checkpoint(tmp_path).iteration == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=rf"no {FILE_NAME}; start a run there with `d2ppo finetune"):
        load_checkpoint(tmp_path)


def test_damaged_and_foreign_files_are_refused(saved: FinetuneCheckpoint, tmp_path: Path) -> None:
    path = save_checkpoint(saved, tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"no checkpoint at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="not a readable checkpoint"):
            load_checkpoint(tmp_path)
    torch.save({"format": 99}, path)
    with pytest.raises(TrainingError, match="wanted checkpoint format 1"):
        load_checkpoint(tmp_path)
