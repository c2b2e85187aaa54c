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


def test_with_a_warm_up_the_average_reaches_back_over_a_part_of_the_run_only() -> None:
    net = linear(0.0)
    short = 0.0
    ema = Ema(net, decay=0.5, every=2, start_step=4, warmup=True)
    for step in range(1, 31):
        with torch.no_grad():
            net.weight.fill_(float(step))
        ema.update(net, step)
        if step <= 4:
            short = float(step)
        elif step % 2 == 0:
            count = (step - 4) // 2
            decay = min(0.5, (1 + count) / (10 + count))
            short = decay * short + (1 - decay) * step
        torch.testing.assert_close(float(ema.shadow["weight"].max()), short, rtol=1e-6, atol=0.0)
    assert count == 13 and decay == 0.5 and (1 + 7) / (10 + 7) < 0.5, "both branches were taken"


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
