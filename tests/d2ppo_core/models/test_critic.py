from collections.abc import Callable

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.models.build import Shapes, build_policy
from d2ppo_core.models.critic import Critic
from d2ppo_core.models.vit import StateEncoder


def test_a_value_per_observation_by_an_mlp_with_mish() -> None:
    critic = Critic(StateEncoder(19), hidden_dim=8, layers=3)
    linear = [m for m in critic.head if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(19, 8), (8, 8), (8, 8), (8, 1)]
    assert sum(isinstance(m, torch.nn.Mish) for m in critic.head) == 3
    state = torch.randn(5, 19)
    x = state
    for m in linear[:-1]:
        x = m(x)
        x = x * torch.tanh(torch.log1p(x.exp()))
    torch.testing.assert_close(critic(state, None), linear[-1](x)[:, 0])


@pytest.mark.parametrize("images", [False, True])
def test_it_learns_through_an_encoder_of_its_own(tiny_config: Callable[..., PretrainConfig], images: bool) -> None:
    torch.manual_seed(0)
    shapes = Shapes(state_dim=9, action_dim=7, num_cameras=int(images), image_hw=(24, 24) if images else (0, 0))
    critic = Critic(build_policy(tiny_config(images=images), shapes).encoder, hidden_dim=16, layers=2)
    state = torch.rand(12, 9)
    pictures = torch.randint(0, 256, (12, 1, 24, 24, 3), dtype=torch.uint8) if images else None
    target = state[:, 0] * 3
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        loss = (critic(state, pictures) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert critic(state, pictures).shape == (12,)
    assert losses[-1] < 0.05 * losses[0]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in critic.encoder.parameters())
