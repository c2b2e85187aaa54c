import math

import pytest
import torch

from d2ppo_core.losses.ensemble import chunk_advantage, critics_loss, explained, scaled


def test_an_advantage_counts_only_where_all_critics_agree_in_sign() -> None:
    # (E, B, N): three critics, two observations, three chunks
    values = torch.tensor(
        [
            [[0.9, 0.5, 0.1], [0.2, 0.2, 0.5]],
            [[0.8, 0.4, 0.3], [0.6, 0.1, 0.5]],
            [[0.6, 0.2, 0.1], [0.3, 0.2, 0.4]],
        ]
    )
    found = chunk_advantage(values)
    assert found.agreed.tolist() == [[True, False, True], [False, True, True]]
    for b in range(2):
        for n in range(3):
            each = [float(values[e, b, n] - values[e, b].mean()) for e in range(3)]
            assert float(found.advantage[b, n]) == pytest.approx(sum(each) / 3, abs=1e-6)
            assert bool(found.agreed[b, n]) == (min(each) > 0 or max(each) < 0)


def test_what_all_value_alike_is_nothing_to_agree_about() -> None:
    found = chunk_advantage(torch.full((3, 2, 4), 0.5))
    assert not found.agreed.any() and not found.advantage.any()
    assert not scaled(found.advantage).any()


def test_observations_are_not_divided_by_their_own_spread() -> None:
    wide, narrow = torch.tensor([0.1, 0.9]), torch.tensor([0.49, 0.51])
    advantage = scaled(chunk_advantage(torch.stack([wide, narrow]).expand(3, 2, 2)).advantage)
    assert float(advantage[0, 1] / advantage[1, 1]) == pytest.approx(40, rel=1e-4)
    assert float(advantage.square().mean()) == pytest.approx(1, rel=1e-4)


def test_each_critic_descends_on_its_own_cross_entropy() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.1]], requires_grad=True)
    target = torch.tensor([1.0, 0.25])
    loss = critics_loss(logits, target)
    wanted = 0.0
    for row in logits.detach():
        for z, y in zip(row.tolist(), target.tolist(), strict=True):
            q = 1 / (1 + math.exp(-z))
            wanted -= (y * math.log(q) + (1 - y) * math.log(1 - q)) / 2
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - target) / 2)


def test_explained_variance() -> None:
    target = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert explained(target, target) == 1 and explained(target, torch.full((4,), 0.5)) == 0
    assert math.isnan(explained(target[:1], target[:1]))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted values \(E, B, N\), got \(3, 2\)"):
        chunk_advantage(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"wanted \(E, B\) and \(B,\), got \(3, 2\) and \(3,\)"):
        critics_loss(torch.zeros(3, 2), torch.zeros(3))
