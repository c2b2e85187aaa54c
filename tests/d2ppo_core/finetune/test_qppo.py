"""PPO on advantages of critics that learn from replay."""

import copy
import io
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2ppo_core.errors import ConfigError, TrainingError
from d2ppo_core.finetune.checkpoint import load_checkpoint
from d2ppo_core.finetune.qppo import QppoUpdate
from d2ppo_core.finetune.replay import look_ahead
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.run import METRICS, finetune
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.losses.ppo import PpoLoss

from .test_run import assert_same_run, before_iteration
from .test_successes import make_reachable, reachable
from .tiny_runs import finetune_config, make_trainer

Origins = Callable[[bool], Path]
SMALL = {"critics": 3, "critic_updates": 4, "batch_size": 16, "observations": 12, "chains": 4, "replay_chunks": 200}
ENV = {"terminate_on_success": True}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prepared(origin: Path, *, images: bool = False, ppo: dict[str, Any] | None = None, **qppo: Any) -> Trainer:
    worlds = reachable(images=images)
    return make_trainer(origin, worlds, algorithm="qppo", env=ENV, ppo=ppo or {}, qppo=SMALL | qppo)


def update_of(trainer: Trainer) -> QppoUpdate:
    assert isinstance(trainer.update, QppoUpdate)
    return trainer.update


def collected(trainer: Trainer, seed: int = 1) -> Rollout:
    return trainer.collector.collect(trainer.chain, chunks=11, seed=seed)


def test_targets_are_those_computed_row_by_row(origin: Path) -> None:
    trainer = prepared(origin)
    update, rollout = update_of(trainer), collected(trainer)
    update.update(rollout, seeded())
    assert any(
        not torch.equal(a, b) for a, b in zip(update.critic.parameters(), update.target.parameters(), strict=True)
    )
    batch = update.replay.draw(40, seeded(1))
    assert (
        (batch.discount == 0).any() and (batch.reward > 0).any() and ((batch.discount > 0) & (batch.reward == 0)).any()
    )
    found = update.targets(batch, seeded(2))
    chunks = trainer.chain.sample(batch.next_state, None, seeded(2)).actions.flatten(1)
    for row in range(40):
        said = []
        for member in range(3):
            with torch.no_grad():
                logits = update.target(batch.next_state[row : row + 1], chunks[row : row + 1])
            said.append(1 / (1 + math.exp(-float(logits[member, 0]))))
        hoped = sum(said) / 3  # the mean, not the smallest
        wanted = float(batch.reward[row]) + float(batch.discount[row]) * hoped
        assert float(found[row]) == pytest.approx(wanted, abs=1e-5)
    assert not found.requires_grad and float(found.min()) >= 0 and float(found.max()) <= 1


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_before_the_first_step_ratios_are_one(origins: Origins, images: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shift = {"random_shift_px": 2 if images else 0, "minibatch_pairs": 60}
    trainer = prepared(origins(images), images=images, ppo=shift)
    update, steps = update_of(trainer), []
    step = update._step_policy

    def watched(*arguments: Any) -> dict[str, float]:
        steps.append(step(*arguments))
        return steps[-1]

    monkeypatch.setattr(update, "_step_policy", watched)
    scalars = update.update(collected(trainer), seeded())
    assert len(steps) == scalars["ppo/minibatches"] == 2 * 4  # two epochs of 12 * 4 * 5 pairs
    assert steps[0]["ppo/ratio"] == pytest.approx(1, abs=1e-5) and abs(steps[0]["ppo/approx_kl"]) < 1e-6
    assert steps[-1]["ppo/ratio"] != steps[0]["ppo/ratio"]


def test_the_loss_is_ppos_on_every_step_of_every_chain(origin: Path) -> None:
    trainer = prepared(origin)
    update = update_of(trainer)
    update.replay.take(collected(trainer), gamma=0.9, chunks=2)
    answers, _ = update._answer(seeded())
    with torch.no_grad():
        trainer.chain.policy.get_parameter("denoiser.output.bias").add_(0.01)
    rows = torch.tensor([7, 2])
    found: PpoLoss = update._loss(answers, rows)
    wanted = []
    for s in rows.tolist():
        condition = trainer.chain.condition(answers.state[s : s + 1], None)
        for n in range(4):
            for k in range(5):
                links, step = answers.chain[s, n], torch.tensor([k])
                new = trainer.chain.log_prob(condition, links[k : k + 1], links[k + 1 : k + 2], step)
                ratio = float((new - answers.log_prob[s, n, k]).exp().detach())
                low, high = 1 - float(update.clip[k]), 1 + float(update.clip[k])
                advantage = float(answers.advantage[s, n]) * 0.99 ** (4 - k)
                wanted.append(-min(advantage * ratio, advantage * min(max(ratio, low), high)))
    assert float(found.policy.detach()) == pytest.approx(sum(wanted) / len(wanted), abs=1e-5)


def test_where_critics_disagree_nothing_is_changed(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = prepared(origin)
    update = update_of(trainer)

    def opposite(state: torch.Tensor, images: None, chunks: torch.Tensor) -> torch.Tensor:
        one = torch.rand(len(state), len(chunks) // len(state), generator=seeded(len(state)))
        return torch.stack([one, -one, one])

    monkeypatch.setattr(update, "_judge", lambda _: {})
    monkeypatch.setattr(update, "_values", opposite)
    before = copy.deepcopy(trainer.chain.state_dict())
    found = update.update(collected(trainer), seeded())
    assert found["critics/agreement"] == 0 and found["critics/advantage"] > 0
    assert all(torch.equal(value, before[name]) for name, value in trainer.chain.state_dict().items())
    monkeypatch.setattr(update, "_values", lambda *a: opposite(*a)[:1])
    assert update.update(collected(trainer), seeded())["critics/agreement"] == 1
    assert any(not torch.equal(value, before[name]) for name, value in trainer.chain.state_dict().items())


def test_chains_of_one_observation_are_drawn_from_its_own_condition(origins: Origins) -> None:
    trainer = prepared(origins(True), images=True)
    rollout, chain = collected(trainer), trainer.chain
    state, images = torch.from_numpy(rollout.state[0]), torch.from_numpy(rollout.images[0])  # type: ignore[index]
    encoded: list[int] = []
    hook = chain.policy.encoder.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    found = chain.sample(state, images, seeded(), chains=3)
    hook.remove()
    wanted = chain.sample(state.repeat_interleave(3, 0), images.repeat_interleave(3, 0), seeded())
    assert encoded == [8]
    for a, b in zip(
        (found.actions, found.chain, found.log_prob), (wanted.actions, wanted.chain, wanted.log_prob), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_micro_batches_sum_to_the_gradient_of_the_whole(origins: Origins) -> None:
    found = []
    for pairs in (0, 45):
        ppo = {"grouping": "observations", "micro_batch_pairs": pairs}
        trainer = prepared(origins(True), images=True, ppo=ppo)
        update = update_of(trainer)
        update.replay.take(collected(trainer), gamma=0.9, chunks=2)
        answers, _ = update._answer(seeded())
        scalars = update._step_policy(answers, torch.arange(12))
        found.append((scalars, [p.grad.clone() for p in update.actor_parameters if p.grad is not None]))
    for name in found[0][0]:
        assert found[1][0][name] == pytest.approx(found[0][0][name], rel=1e-3, abs=1e-5), name
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_warm_up_trains_the_critics_alone(origin: Path) -> None:
    trainer = prepared(origin)
    actor, critics = copy.deepcopy(trainer.chain.state_dict()), copy.deepcopy(trainer.critic.state_dict())
    found = trainer.update.update(collected(trainer), seeded(), actor=False)
    assert "losses/policy" not in found and found["losses/value"] > 0
    assert all(torch.equal(value, actor[name]) for name, value in trainer.chain.state_dict().items())
    assert any(not torch.equal(value, critics[name]) for name, value in trainer.critic.state_dict().items())


def test_what_the_critics_said_stands_beside_what_came_of_it(origin: Path) -> None:
    trainer = prepared(origin, gamma=0.9)
    rollout = collected(trainer)
    found = update_of(trainer)._judge(rollout)
    spans = look_ahead(rollout, gamma=0.9, chunks=11)
    outcomes = []
    for c, n in np.ndindex(rollout.reward.shape):
        if rollout.ended[c:, n].any():  # its end is known
            outcomes.append(spans.reward[c, n])
    assert found["critics/return"] == pytest.approx(np.mean(outcomes), rel=1e-4)
    assert 0 < found["critics/value"] < 0.2 and found["critic/explained_variance"] < 0.2


def test_the_log_has_a_column_for_everything(origin: Path) -> None:
    trainer = make_trainer(
        origin, reachable(), algorithm="qppo", env=ENV, qppo=SMALL, self_cloning={"weight": 0.1, "batch_size": 8}
    )
    scalars: dict[str, float] = {}
    for _ in range(3):
        scalars |= trainer.iterate()
    assert set(scalars) <= set(METRICS)
    assert {"critics/disagreement", "critics/agreement", "critics/value", "critics/return"} <= set(scalars)
    assert scalars["losses/self_cloning"] > 0


def test_a_restored_update_goes_on_with_the_same_bits(origin: Path) -> None:
    one, other = prepared(origin), prepared(origin)
    for seed in range(3):
        one.update.update(collected(one, seed), seeded(seed))
    file = io.BytesIO()
    torch.save(one.update.state_dict(), file)
    file.seek(0)
    other.update.load_state_dict(torch.load(file, weights_only=True))
    rollout = collected(one, 7)
    assert one.update.update(rollout, seeded(9)) == other.update.update(rollout, seeded(9))
    for a, b in zip(one.chain.parameters(), other.chain.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_an_interrupted_run_ends_as_one_that_was_not(
    origins: Origins, tmp_path: Path, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = finetune_config(
        algorithm="qppo",
        env=ENV,
        qppo=SMALL,
        ppo={"random_shift_px": 2 if images else 0},
        self_cloning={"weight": 0.1, "batch_size": 8, "capacity_chunks": 40},
    )
    make, origin = make_reachable(images), origins(images)
    finetune(config, origin, make, tmp_path / "whole", progress=False)
    before_iteration(monkeypatch, 1, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert not finetune(config, origin, make, tmp_path / "parts", progress=False).finished
    monkeypatch.undo()
    torch.manual_seed(4321)
    assert finetune(config, origin, make, tmp_path / "parts", resume=True, progress=False).finished
    assert_same_run(tmp_path / "whole", tmp_path / "parts", scales_rewards=False)
    learner = load_checkpoint(tmp_path / "whole").learner
    assert learner["replay"]["written"] > 200 and learner["target"]


def test_a_loss_that_is_not_finite_leaves_the_actor_as_it_was(origin: Path) -> None:
    trainer = prepared(origin)
    rollout = collected(trainer)
    before = copy.deepcopy(trainer.chain.state_dict())
    with pytest.raises(TrainingError, match="the loss is nan after 0 steps of the actor"):
        trainer.update.update(replace(rollout, reward=rollout.reward * math.nan), seeded())
    assert all(torch.equal(value, before[name]) for name, value in trainer.chain.state_dict().items())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"env": {}}, "algorithm=qppo: wanted env.terminate_on_success=true with it, got false"),
        ({"qppo": {"replay_chunks": 127}}, r"wanted at least 2 \* .* = 128, so that a rollout fits, got 127"),
        ({"qppo": {"critics": 1}}, "qppo.critics: wanted >= 2, got 1"),
        ({"qppo": {"chains": 1}}, "qppo.chains: wanted >= 2, got 1"),
        ({"qppo": {"gamma": 1}}, r"qppo.gamma: wanted in \[0, 1\), got 1"),
        ({"qppo": {"return_chunks": 0}}, "qppo.return_chunks: wanted >= 1, got 0"),
        ({"ppo": {"bc_weight": 0.1}}, "ppo.bc_weight: wanted 0 with qppo, got 0.1"),
        ({"compile": True}, "compile: wanted false with qppo, got true"),
    ],
)
def test_what_cannot_be_is_refused_by_name(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        finetune_config(**({"algorithm": "qppo", "env": ENV} | sections))
