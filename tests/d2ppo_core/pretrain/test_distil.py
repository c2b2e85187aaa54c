"""A student of few steps: it begins as its teacher, comes nearer to it, and is refused where it cannot."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from d2ppo_core.config import PretrainConfig, load_kept_config
from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.distil import clip, denoised
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.pretrain.trainer import Trainer

from .test_trainer import make_trainer

Build = Callable[..., PretrainConfig]
NO_TERM = {"dispersive": "none"}


@pytest.fixture(scope="module")
def teacher(dataset: Path, tiny_config: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "teacher"
    pretrain(tiny_config(loss=NO_TERM, optim={"steps": 300, "lr": 3e-3}), dataset, folder, progress=False)
    return folder


def student(tiny_config: Build, teacher: Path, **changes: Any) -> PretrainConfig:
    few = {"num_denoising_steps": 2, "sampler_times": "centred"}
    optim = {"steps": 300, "lr": 3e-3, "batch_size": 32}
    config = {"model": few, "optim": optim, "loss": NO_TERM, "distil": {"teacher": str(teacher)}}
    return tiny_config(**(config | changes))


def miss(trainer: Trainer) -> float:
    """Mean squared difference between the chunks of the averaged student and its teacher."""
    trainer.ema.copy_to(trainer.averaged)
    own, theirs = trainer.averaged, trainer.teacher
    assert theirs is not None
    noise = torch.randn(256, own.pred_horizon, own.action_dim, generator=torch.Generator().manual_seed(5))
    state = trainer.data.state[torch.arange(256) % len(trainer.data)]
    return float((own.sample(state, None, noise) - theirs.policy.sample(state, None, noise)).square().mean())


@pytest.mark.parametrize("steps", [1, 2])
def test_a_student_begins_as_its_teacher_and_comes_nearer(
    dataset: Path, tiny_config: Build, teacher: Path, steps: int
) -> None:
    few = {"num_denoising_steps": steps, "sampler_times": "centred"}
    trainer = make_trainer(student(tiny_config, teacher, model=few), dataset)
    taught = load_checkpoint(teacher)
    assert all(torch.equal(value, taught.ema[name]) for name, value in trainer.policy.state_dict().items())
    assert trainer.normalizer.to_mapping() == taught.normalizer.to_mapping()
    before = miss(trainer)
    for _ in range(300):
        losses = trainer.train_step(detailed=False)
    assert miss(trainer) < 0.5 * before and losses["losses/denoising"] < before


def test_what_is_fitted_is_what_the_sampler_makes(dataset: Path, tiny_config: Build, teacher: Path) -> None:
    trainer = make_trainer(student(tiny_config, teacher), dataset)
    policy, state = trainer.policy, trainer.data.state[:32]
    assert isinstance(policy, DiffusionPolicy)
    noise = torch.randn(32, policy.pred_horizon, policy.action_dim)
    found = denoised(policy, policy.encode(state, None), noise.flatten(1))
    torch.testing.assert_close(found.detach(), policy.sample(state, None, noise).flatten(1), rtol=0, atol=1e-6)
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in policy.denoiser.parameters())


def test_what_is_clipped_is_led_back_in_and_never_further_out() -> None:
    x0 = torch.tensor([-3.0, -3.0, 0.5, 0.5, 3.0, 3.0], requires_grad=True)
    clip(x0).backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))  # descent goes against these
    assert x0.grad is not None and x0.grad.tolist() == [0.0, -1.0, 1.0, -1.0, 1.0, 0.0]


def test_a_distillation_resumes_to_the_bit_and_not_from_another_teacher(
    dataset: Path, tiny_config: Build, teacher: Path, tmp_path: Path
) -> None:
    def run(steps: int, folder: str, *, resume: bool = False) -> dict[str, Any]:
        optim = {"steps": steps, "lr": 1e-3, "lr_final": 1e-3}
        pretrain(student(tiny_config, teacher, optim=optim), dataset, tmp_path / folder, resume=resume, progress=False)
        return load_checkpoint(tmp_path / folder).model

    run(3, "parts")
    assert load_kept_config(tmp_path / "parts" / "config.yaml").distil.teacher == str(teacher)
    shutil.copytree(tmp_path / "parts", tmp_path / "other")
    parts, whole = load_checkpoint(tmp_path / "parts").model, run(3, "whole")
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
    trainer = make_trainer(student(tiny_config, teacher), dataset)
    saved = trainer.checkpoint()
    trainer.dataset = {**trainer.dataset, "teacher_sha256": "another"}
    with pytest.raises(TrainingError, match="holds another clone than the one this run learns from"):
        trainer.restore(saved)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optim": {"precision": "bfloat16"}}, "optim.precision: wanted float32 with distil.teacher, got 'bfloat16'"),
        ({"loss": {}}, "loss.dispersive: wanted none with distil.teacher, got 'infonce_l2'"),
        ({"model": {"kind": "gaussian"}}, "model.kind: wanted diffusion with distil.teacher, got 'gaussian'"),
        ({"model": {"hidden_dim": 48}}, "teacher has another model than this run"),
        ({"data": {"pred_horizon": 8}}, "teacher has another .* than this run"),
    ],
)
def test_what_cannot_be_distilled_is_one_line(
    dataset: Path, tiny_config: Build, teacher: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        make_trainer(student(tiny_config, teacher, **changes), dataset)
    assert "\n" not in str(error.value)


def test_a_teacher_that_is_not_there_is_named(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="gone: no checkpoint.pt"):
        make_trainer(student(tiny_config, tmp_path / "gone"), dataset)
