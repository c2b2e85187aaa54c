"""Random shifts of pictures in the second stage: once per rollout, the same for old and new likelihoods and values."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2ppo_core.config import load_finetune_config
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune import augment, ppo
from d2ppo_core.finetune.augment import judge_again, shift_pictures
from d2ppo_core.finetune.experience import Experience
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.trainer import Trainer

from .tiny_runs import make_trainer

Origins = Callable[[bool], Path]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def collected(trainer: Trainer) -> Rollout:
    rollout = trainer.collector.collect(trainer.chain, chunks=8, seed=1)
    return replace(rollout, reward=torch.rand(rollout.reward.shape, generator=seeded(2)).numpy())


def pictures(rollout: Rollout) -> np.ndarray:
    assert rollout.images is not None
    return rollout.images


def test_every_picture_is_shifted_by_one_offset_and_borders_repeat(origins: Origins) -> None:
    rollout = collected(make_trainer(origins(True)))
    moved = shift_pictures(rollout, 2, seeded())
    found = set()
    both = (pictures(each).reshape(-1, 16, 16, 3) for each in (rollout, moved))
    for before, after in zip(*both, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="edge")
        fits = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 16, x : x + 16], after)]
        assert fits
        found |= set(fits[:1])
    assert len(found) > 15 and {y for y, _ in found} == {x for _, x in found} == set(range(5))
    assert moved.next_images is not None and not np.array_equal(moved.next_images, rollout.next_images)
    assert moved.log_prob is rollout.log_prob and moved.chain is rollout.chain


@pytest.mark.parametrize("rows", [7, 1024])
def test_offsets_do_not_depend_on_how_many_are_shifted_at_once(
    origins: Origins, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(origins(True))
    rollout = collected(trainer)
    whole = shift_pictures(rollout, 2, seeded())
    judged = judge_again(whole, trainer.chain)
    monkeypatch.setattr(augment, "_ROWS", rows)
    assert np.array_equal(pictures(whole), pictures(shift_pictures(rollout, 2, seeded())))
    np.testing.assert_allclose(judge_again(whole, trainer.chain).log_prob, judged.log_prob, atol=1e-5)


def test_likelihoods_of_unshifted_pictures_are_those_of_acting(origins: Origins) -> None:
    trainer = make_trainer(origins(True))
    rollout = collected(trainer)
    np.testing.assert_allclose(judge_again(rollout, trainer.chain).log_prob, rollout.log_prob, atol=1e-5)
    moved = judge_again(shift_pictures(rollout, 4, seeded()), trainer.chain)
    assert np.abs(moved.log_prob - rollout.log_prob).max() > 1e-3


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_before_the_first_update_ratios_are_one_on_shifted_pictures(
    origins: Origins, grouping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(origins(True), ppo={"random_shift_px": 4, "grouping": grouping, "target_kl": 1e9})
    update, rollout = trainer.update, collected(trainer)
    assert isinstance(update, ppo.PpoUpdate)
    critic = copy.deepcopy(trainer.critic)
    seen: list[Experience] = []
    steps: list[dict[str, float]] = []
    step = update.step

    def watched(experience: Experience, *arguments: Any, **options: Any) -> dict[str, float]:
        seen.append(experience)
        steps.append(step(experience, *arguments, **options))
        return steps[-1]

    monkeypatch.setattr(update, "step", watched)
    update.update(rollout, seeded())
    assert len(steps) > 4
    assert steps[0]["ppo/ratio"] == pytest.approx(1, abs=1e-6) and abs(steps[0]["ppo/approx_kl"]) < 1e-7
    assert steps[0]["ppo/clip_fraction"] == 0 and steps[1]["ppo/ratio"] != steps[0]["ppo/ratio"]
    assert all(one is seen[0] for one in seen)  # the same pictures in every epoch
    experience = seen[0]
    images = experience.images
    assert images is not None and not np.array_equal(images.numpy(), pictures(rollout).reshape(images.shape))
    with torch.no_grad():  # values are of the shifted pictures too
        torch.testing.assert_close(experience.value, critic(experience.state, images), rtol=0, atol=1e-5)


def test_without_shifts_nothing_is_drawn_and_nothing_is_computed_anew(
    origins: Origins, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(origins(True))
    monkeypatch.setattr(ppo, "judge_again", lambda *_: pytest.fail("computed anew"))
    rollout, generator = collected(trainer), seeded()
    assert shift_pictures(rollout, 0, generator) is rollout
    assert torch.equal(generator.get_state(), seeded().get_state())
    trainer.update.update(rollout, seeded())


def test_weighted_regression_remembers_shifted_pictures(origins: Origins) -> None:
    weighted = {"updates": 1, "critic_updates": 1, "batch_size": 16}
    trainer = make_trainer(origins(True), algorithm="dawr", ppo={"random_shift_px": 2}, weighted=weighted)
    rollout = collected(trainer)
    trainer.update.update(rollout, seeded(3))
    (kept,) = trainer.update._memory  # type: ignore[attr-defined]
    assert np.array_equal(kept.images, pictures(shift_pictures(rollout, 2, seeded(3))))


@pytest.mark.parametrize("task", ["lift", "can", "square", "transport"])
@pytest.mark.parametrize("section", ["finetune", "published"])
def test_image_configurations_shift_as_published_and_state_ones_do_not(task: str, section: str) -> None:
    assert load_finetune_config(f"{task}_image", section=section).ppo.random_shift_px == 4
    assert load_finetune_config(f"{task}_state", section=section).ppo.random_shift_px == 0


def test_shifts_asked_of_a_policy_without_pictures_are_one_line(origin: Path) -> None:
    wanted = (
        "ppo.random_shift_px: wanted 0 for tiny, which was trained without pictures, got 4; name a pre-training with "
        "pictures by --origin, or set it to 0"
    )
    with pytest.raises(ConfigError, match=wanted):
        make_trainer(origin, ppo={"random_shift_px": 4})
