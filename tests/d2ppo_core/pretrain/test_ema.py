import torch
from torch import nn

from d2ppo_core.pretrain.ema import Ema


def linear(value: float) -> nn.Linear:
    net = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def test_shadow_follows_until_the_start_and_averages_from_then_on() -> None:
    net = linear(0.0)
    ema = Ema(net, decay=0.9, every=1, start_step=1)
    with torch.no_grad():
        net.weight.fill_(1.0)
    ema.update(net, 1)
    assert torch.equal(ema.shadow["weight"], torch.ones(2, 2))
    with torch.no_grad():
        net.weight.fill_(2.0)
    ema.update(net, 2)
    ema.update(net, 3)
    torch.testing.assert_close(ema.shadow["weight"], torch.full((2, 2), 0.9 * (0.9 + 0.2) + 0.2))


def test_only_every_nth_step_counts() -> None:
    net = linear(0.0)
    ema = Ema(net, decay=0.5, every=10, start_step=0)
    with torch.no_grad():
        net.weight.fill_(1.0)
    for step in range(1, 10):
        ema.update(net, step)
    assert float(ema.shadow["weight"].max()) == 0.0
    ema.update(net, 10)
    assert float(ema.shadow["weight"].max()) == 0.5


def test_shadow_is_copied_out_and_survives_a_round_trip() -> None:
    source = Ema(linear(3.0), decay=0.9, every=1, start_step=0)
    target, restored = linear(0.0), Ema(linear(0.0), decay=0.9, every=1, start_step=0)
    restored.load_state_dict(source.state_dict())
    restored.copy_to(target)
    assert torch.equal(target.weight, torch.full((2, 2), 3.0))
