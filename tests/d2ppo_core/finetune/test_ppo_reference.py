"""PPO is the reference that other algorithms are compared to: without their terms it is, to the bit, what it was.

The update is written out here as it was before there was anything beside it.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from d2ppo_core.finetune.experience import make_experience
from d2ppo_core.finetune.minibatch import minibatches
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.trainer import Trainer
from d2ppo_core.losses.ppo import clip_schedule, denoising_discount, normalized, ppo_loss, value_loss

from .tiny_runs import make_trainer


def written_out(trainer: Trainer, rollout: Rollout, generator: torch.Generator) -> tuple[nn.Module, nn.Module]:
    """Actor and critic after one update, from a trainer that has made none."""
    config, device = trainer.config.ppo, torch.device("cpu")
    chain, critic = copy.deepcopy(trainer.chain), copy.deepcopy(trainer.critic)
    trained = [p for p in chain.parameters() if p.requires_grad]
    actor_steps = torch.optim.AdamW(trained, lr=config.actor_lr, weight_decay=0.0, fused=True)
    critic_steps = torch.optim.AdamW(critic.parameters(), lr=config.critic_lr, weight_decay=0.0, fused=True)
    clip = clip_schedule(chain.num_steps, low=config.clip_low, high=config.clip_high)
    discount = denoising_discount(chain.num_steps, config.gamma_denoising)
    seen = make_experience(rollout, critic, copy.deepcopy(trainer.update.reward_scale), config)
    for _ in range(config.epochs):
        for batch in list(minibatches(len(seen.state), chain.num_steps, config, generator)):
            batch = batch.to(device)
            actor_steps.zero_grad(set_to_none=True)
            critic_steps.zero_grad(set_to_none=True)
            obs, step, valued = batch.pair_obs, batch.step, batch.value_obs
            advantage = normalized(seen.advantage[obs]) * discount[step]
            value = value_loss(critic(seen.state[valued], seen.images_of(valued)), seen.target[valued])
            condition = chain.condition(seen.state[batch.obs], seen.images_of(batch.obs))
            log_prob = chain.log_prob(condition[batch.row], seen.chain[obs, step], seen.chain[obs, step + 1], step)
            policy = ppo_loss(log_prob, seen.log_prob[obs, step], advantage, clip[step], batch.weight).policy
            (value + policy).backward()  # type: ignore[no-untyped-call]
            actor_steps.step()
            critic_steps.step()
    return chain, critic


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
@pytest.mark.parametrize("grouping", ["pairs", "observations"])
def test_ppo_without_additions_is_to_the_bit_what_it_was(
    origins: Callable[[bool], Path], images: bool, grouping: str
) -> None:
    trainer = make_trainer(origins(images), ppo={"grouping": grouping})
    rollout = trainer.collector.collect(trainer.chain, chunks=8, seed=1)
    rewards = torch.rand(rollout.reward.shape, generator=torch.Generator().manual_seed(2)).numpy()
    rollout = replace(rollout, reward=rewards)
    ours, theirs = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    wanted = written_out(trainer, rollout, theirs)
    trainer.update.update(rollout, ours)
    assert trainer.update.steps == 8
    for reference, module in zip(wanted, (trainer.chain, trainer.critic), strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, reference.state_dict()[name]), name
    assert torch.equal(ours.get_state(), theirs.get_state())
