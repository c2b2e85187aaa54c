import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2ppo_core.errors import TrainingError
from d2ppo_core.finetune.experience import Experience, make_experience
from d2ppo_core.finetune.minibatch import Minibatch, minibatches
from d2ppo_core.finetune.ppo import PpoUpdate
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.losses.ppo import normalized

from .tiny_runs import make_trainer

Origins = Callable[[bool], Path]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rewarded(trainer: Trainer, chunks: int = 8) -> Rollout:
    """A rollout whose chunks were rewarded at random, so that there is something to learn."""
    rollout = trainer.collector.collect(trainer.chain, chunks=chunks, seed=1)
    return replace(rollout, reward=torch.rand(rollout.reward.shape, generator=seeded(2)).numpy())


def prepared(origin: Path, **ppo: Any) -> tuple[PpoUpdate, Experience, list[Minibatch]]:
    """An update, experience and the minibatches of one epoch."""
    trainer = make_trainer(origin, ppo=ppo)
    update = trainer.update
    experience = make_experience(rewarded(trainer), update.critic, update.reward_scale, update.config)
    return update, experience, list(minibatches(len(experience.state), 5, update.config, seeded()))


def weights(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def gradients(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
@pytest.mark.parametrize("chain", [(20, 10), (10, 5), (5, 5)], ids=["ddpm-20/10", "ddim-10/5", "ddim-5/5"])
def test_before_the_first_update_ratios_are_one(origins: Origins, images: bool, chain: tuple[int, int]) -> None:
    trainer = make_trainer(origins(images), chain={"num_denoising_steps": chain[0], "finetuned_steps": chain[1]})
    update = trainer.update
    experience = make_experience(rewarded(trainer), update.critic, update.reward_scale, update.config)
    batch = next(minibatches(len(experience.state), chain[1], update.config, seeded()))
    found = update.step(experience, batch, actor=True)
    assert found["ppo/ratio"] == pytest.approx(1, abs=1e-5)
    assert abs(found["ppo/approx_kl"]) < 1e-6
    assert found["ppo/clip_fraction"] == 0
    advantage = normalized(experience.advantage[batch.pair_obs]) * 0.99 ** (chain[1] - 1 - batch.step)
    assert found["losses/policy"] == pytest.approx(-float(advantage.mean()), abs=1e-5)
    assert update.step(experience, batch, actor=True)["ppo/ratio"] != found["ppo/ratio"]


@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_encoding_once_equals_encoding_for_every_pair(origins: Origins, grouping: str) -> None:
    update, experience, batches = prepared(origins(True), grouping=grouping)
    batch, chain = batches[0], update.chain
    encodes: list[int] = []
    hook = chain.policy.get_submodule("encoder").register_forward_hook(
        lambda _, inputs, __: encodes.append(len(inputs[0]))
    )
    reference = copy.deepcopy(chain)
    found = update.step(experience, batch, actor=True)
    hook.remove()
    assert encodes == [len(batch.obs)] and len(batch.obs) < len(batch.row)

    obs, step = batch.pair_obs, batch.step
    condition = reference.condition(experience.state[obs], experience.images_of(obs))
    log_prob = reference.log_prob(condition, experience.chain[obs, step], experience.chain[obs, step + 1], step)
    ratio = (log_prob - experience.log_prob[obs, step]).exp()
    u = step / 4
    clip = 0.001 + 0.009 * torch.expm1(3 * u) / math.expm1(3)
    advantage = experience.advantage[obs]
    advantage = (advantage - advantage.mean()) / advantage.std() * 0.99 ** (4 - step)
    clipped = torch.minimum(torch.maximum(ratio, 1 - clip), 1 + clip)
    loss = -torch.minimum(advantage * ratio, advantage * clipped).mean()
    loss.backward()
    assert found["losses/policy"] == pytest.approx(float(loss.detach()), abs=1e-6)
    wanted, got = gradients(reference), gradients(chain)
    assert float((wanted - got).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
@pytest.mark.parametrize("micro", [1, 15, 40])
def test_micro_batches_sum_to_the_gradient_of_the_whole(origins: Origins, images: bool, micro: int) -> None:
    found = {}
    for pairs in (0, micro):
        update, experience, batches = prepared(origins(images), grouping="observations", micro_batch_pairs=pairs)
        scalars = update.step(experience, batches[0], actor=True)
        found[pairs] = (scalars, gradients(update.chain.policy), gradients(update.critic))
    whole, parts = found[0], found[micro]
    for name in whole[0]:
        assert parts[0][name] == pytest.approx(whole[0][name], rel=1e-4, abs=1e-6), name
    for wanted, got in zip(whole[1:], parts[1:], strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


def test_critic_warm_up_neither_changes_nor_evaluates_the_actor(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(origin)
    rollout, update = rewarded(trainer), trainer.update
    before, critic = weights(trainer.chain), weights(trainer.critic)
    calls: list[str] = []
    for name in ("condition", "log_prob", "sample"):
        monkeypatch.setattr(trainer.chain, name, lambda *_, name=name: calls.append(name))
    handle = trainer.chain.policy.register_forward_pre_hook(lambda *_: calls.append("forward"))
    scalars = update.update(rollout, seeded(), actor=False)
    handle.remove()
    assert calls == []
    assert same(before, weights(trainer.chain)) and not same(critic, weights(trainer.critic))
    assert same(before[: len(update.ema.shadow)], list(update.ema.shadow.values()))
    assert update.steps == 0 and not update.actor_optimizer.state_dict()["state"]
    assert "losses/policy" not in scalars and scalars["losses/value"] > 0


def test_the_frozen_origin_never_changes(origin: Path) -> None:
    trainer = make_trainer(origin)
    assert trainer.chain.base is not None
    before, actor = weights(trainer.chain.base), weights(trainer.chain.policy)
    trainer.update.update(rewarded(trainer), seeded())
    assert same(before, weights(trainer.chain.base))
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.origin.ema.values(), strict=True))
    assert not same(actor, weights(trainer.chain.policy))


def test_averaged_weights_follow_every_step_of_the_actor(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(origin, ppo={"ema_decay": 0.9, "actor_lr": 1e-2})
    update = trainer.update
    average = [p.double() for p in weights(trainer.chain.policy)]
    step = update.step

    def followed(*arguments: Any, **options: Any) -> dict[str, float]:
        scalars = step(*arguments, **options)
        for shadow, weight in zip(average, trainer.chain.policy.parameters(), strict=True):
            shadow.mul_(0.9).add_(weight.detach().double(), alpha=0.1)
        return scalars

    monkeypatch.setattr(update, "step", followed)
    update.update(rewarded(trainer), seeded())
    assert update.steps == 8
    for wanted, got in zip(average, update.ema.shadow.values(), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)


def test_an_update_ends_with_the_minibatch_whose_divergence_is_too_large(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(origin, ppo={"target_kl": 0.5})
    divergences = iter([0.1, 0.2, 0.6, 0.0])
    monkeypatch.setattr(trainer.update, "step", lambda *_, **__: {"ppo/approx_kl": next(divergences)})
    scalars = trainer.update.update(rewarded(trainer), seeded())
    assert scalars["ppo/minibatches"] == 3 and scalars["ppo/approx_kl"] == pytest.approx(0.3)


def test_a_loss_that_is_not_finite_leaves_all_weights_as_they_were(origin: Path) -> None:
    trainer = make_trainer(origin)
    rollout = rewarded(trainer)
    rollout.chain[0, 0, 2, 0] = math.nan
    trainer.update.config = replace(trainer.update.config, minibatch_pairs=1000)
    before = weights(trainer.chain), weights(trainer.critic)
    with pytest.raises(TrainingError, match="the loss is nan after 0 steps of the actor"):
        trainer.update.update(rollout, seeded())
    assert same(before[0], weights(trainer.chain)) and same(before[1], weights(trainer.critic))


def test_a_gradient_that_is_not_finite_leaves_all_weights_as_they_were(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(origin)
    log_prob, bias = trainer.chain.log_prob, trainer.chain.policy.get_parameter("denoiser.output.bias")
    monkeypatch.setattr(trainer.chain, "log_prob", lambda *a: log_prob(*a) + (0 * bias).sqrt().sum())
    before = weights(trainer.chain), weights(trainer.critic)
    with pytest.raises(TrainingError, match="the actor's gradient is not finite after 0 steps"):
        trainer.update.update(rewarded(trainer), seeded())
    assert same(before[0], weights(trainer.chain)) and same(before[1], weights(trainer.critic))


def test_the_actors_gradient_is_limited_and_the_critics_is_not(origin: Path) -> None:
    free, experience, batches = prepared(origin)
    limited, _, _ = prepared(origin, grad_clip_norm=1e-3)
    norm = free.step(experience, batches[0], actor=True)["optim/actor_gradient_norm"]
    assert norm > 1e-2
    assert limited.step(experience, batches[0], actor=True)["optim/actor_gradient_norm"] == pytest.approx(
        norm, rel=1e-5
    )
    assert float(gradients(limited.chain.policy).norm()) == pytest.approx(1e-3, rel=1e-3)
    assert float(gradients(free.chain.policy).norm()) == pytest.approx(norm, rel=1e-5)
    torch.testing.assert_close(gradients(limited.critic), gradients(free.critic))


def test_the_cloning_term_pulls_the_actor_back_to_its_origin(origin: Path) -> None:
    update, experience, batches = prepared(origin, bc_weight=1.0, actor_lr=1e-2)
    with torch.no_grad():
        update.chain.policy.get_parameter("denoiser.output.bias").add_(0.3)
    nothing = replace(experience, advantage=torch.zeros_like(experience.advantage))
    losses = [update.step(nothing, batch, actor=True)["losses/bc"] for _ in range(6) for batch in batches]
    assert sum(losses[-4:]) / 4 < sum(losses[:4]) / 4 - 0.02
    assert all(loss["losses/policy"] == 0 for loss in [update.step(nothing, batches[0], actor=True)])


def test_drawn_steps_weigh_what_they_stand_for(origin: Path) -> None:
    update, experience, batches = prepared(origin, steps_per_observation=2, gamma_denoising=0.5)
    assert sum(len(batch.step) for batch in batches) == 2 * len(experience.state)
    batch = batches[0]
    advantage = normalized(experience.advantage[batch.pair_obs]) * 0.5 ** (4 - batch.step) * batch.weight
    found = update.step(experience, batch, actor=True)
    assert found["losses/policy"] == pytest.approx(-float(advantage.mean()), abs=1e-5)


def test_a_restored_update_goes_on_with_the_same_bits(origin: Path) -> None:
    one, other = make_trainer(origin), make_trainer(origin)
    first, second = rewarded(one), rewarded(one, chunks=6)
    one.update.update(first, seeded(3))
    other.update.load_state_dict(copy.deepcopy(one.update.state_dict()))
    assert one.update.update(second, seeded(4)) == other.update.update(second, seeded(4))
    assert same(weights(one.chain), weights(other.chain)) and same(weights(one.critic), weights(other.critic))
    assert same(list(one.update.ema.shadow.values()), list(other.update.ema.shadow.values()))
