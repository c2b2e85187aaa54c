import torch
from torch.nn import functional as F

from d2ppo_core.models.ensemble import ChunkCritics
from d2ppo_core.models.vit import StateEncoder


def critics(members: int = 3) -> ChunkCritics:
    torch.manual_seed(0)
    return ChunkCritics(StateEncoder(4), chunk_dim=6, members=members, hidden_dim=8, layers=2)


def test_members_computed_side_by_side_are_those_computed_one_by_one() -> None:
    model = critics()
    state, chunks = torch.randn(5, 4), torch.randn(5, 6)
    found = model(model.features(state, None), chunks)
    assert found.shape == (3, 5)
    for member in range(3):
        x = torch.cat([state, chunks], dim=1)
        for weight, bias in zip(model.weights[:-1], model.biases[:-1], strict=True):
            x = F.mish(F.layer_norm(x @ weight[member] + bias[member], (8,)))
        torch.testing.assert_close(found[member], (x @ model.weights[-1][member] + model.biases[-1][member])[:, 0])
    assert float(found.detach().std(0).min()) > 0  # they differ


def test_a_members_gradient_is_its_own() -> None:
    model = critics()
    model(torch.randn(5, 4), torch.randn(5, 6))[1].sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].any() and not parameter.grad[0].any() and not parameter.grad[2].any()


def test_what_is_not_executed_is_not_valued_and_nothing_is_expected_at_first() -> None:
    model = critics(10)
    features, chunks = torch.randn(50, 4), torch.randn(50, 9)
    other = chunks.clone()
    other[:, 6:] += 1
    assert torch.equal(model(features, chunks), model(features, other))
    assert model(features, chunks).sigmoid().mean().item() < 0.15
