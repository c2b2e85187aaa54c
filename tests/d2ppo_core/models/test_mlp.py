import pytest
import torch

from d2ppo_core.models.mlp import Denoiser, TimeEmbedding


@pytest.fixture
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(chunk_dim=28, condition_dim=9, hidden_dim=64, time_dim=16)


def test_noise_has_the_shape_of_the_chunk_and_taps_the_hidden_width(denoiser: Denoiser) -> None:
    eps, taps = denoiser(torch.randn(5, 28), torch.arange(5), torch.randn(5, 9))
    assert eps.shape == (5, 28)
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == dict.fromkeys(("early", "mid", "late"), (5, 64))


def test_taps_are_three_different_tensors_and_none_is_the_output(denoiser: Denoiser) -> None:
    eps, taps = denoiser(torch.randn(5, 28), torch.arange(5), torch.randn(5, 9))
    assert not torch.equal(taps["mid"], taps["late"]) and not torch.equal(taps["early"], taps["late"])
    torch.testing.assert_close(denoiser.output(taps["late"]), eps)


def test_noise_depends_on_chunk_time_and_condition(denoiser: Denoiser) -> None:
    x, t, condition = torch.randn(1, 28), torch.tensor([3]), torch.randn(1, 9)
    base = denoiser(x, t, condition)[0]
    for other in (denoiser(x + 1, t, condition), denoiser(x, t + 1, condition), denoiser(x, t, condition + 1)):
        assert (other[0] - base).abs().max() > 1e-4


def test_every_time_step_has_its_own_embedding() -> None:
    torch.manual_seed(0)
    embedded = TimeEmbedding(32)(torch.arange(100))
    distances = torch.cdist(embedded, embedded) + 1e3 * torch.eye(100)
    assert distances.min() > 1e-3


def test_the_collapsed_denoiser_is_the_same_function_with_the_same_gradients(denoiser: Denoiser) -> None:
    denoiser.double()
    denoiser.time.double()
    x, t, condition = torch.randn(6, 28).double(), torch.arange(6), torch.randn(6, 9).double()
    whole, collapsed = denoiser(x, t, condition)[0], denoiser.collapse()(x, t, condition)
    torch.testing.assert_close(collapsed, whole, rtol=0, atol=1e-12)
    wanted = torch.autograd.grad(whole.square().sum(), list(denoiser.parameters()))
    got = torch.autograd.grad(collapsed.square().sum(), list(denoiser.parameters()))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_one_time_step_may_stand_for_all_rows(denoiser: Denoiser) -> None:
    x, condition, collapsed = torch.randn(6, 28), torch.randn(6, 9), denoiser.collapse()
    torch.testing.assert_close(
        collapsed(x, torch.tensor([3]), condition), collapsed(x, torch.full((6,), 3), condition), rtol=0, atol=1e-6
    )


def test_the_collapsed_denoiser_taps_the_same_early_and_mid_features(denoiser: Denoiser) -> None:
    x, t, condition = torch.randn(6, 28), torch.arange(6), torch.randn(6, 9)
    wanted, (_, got) = denoiser(x, t, condition)[1], denoiser.collapse().with_taps(x, t, condition)
    assert set(got) == {"early", "mid"}
    for tap, features in got.items():
        torch.testing.assert_close(features, wanted[tap])


def test_half_products_change_little_and_leave_everything_in_float32(denoiser: Denoiser) -> None:
    x, t, condition = torch.randn(6, 28), torch.arange(6), torch.randn(6, 9)
    exact, collapsed = denoiser(x, t, condition)[0], denoiser.collapse()(x, t, condition)
    denoiser.half_products = True
    half, taps = denoiser(x, t, condition)
    half_collapsed = denoiser.collapse()(x, t, condition)
    assert {half.dtype, half_collapsed.dtype, *(z.dtype for z in taps.values())} == {torch.float32}
    for got, wanted in ((half, exact), (half_collapsed, collapsed)):
        assert 0 < (got - wanted).norm() < 0.01 * wanted.norm()


def test_time_steps_embedded_beforehand_change_nothing(denoiser: Denoiser) -> None:
    x, t, condition = torch.randn(6, 28), torch.tensor([0, 3, 19, 3, 7, 0]), torch.randn(6, 9)
    plain, prepared = denoiser.collapse()(x, t, condition), denoiser.collapse(20)(x, t, condition)
    torch.testing.assert_close(prepared, plain)
    wanted = torch.autograd.grad(plain.square().sum(), list(denoiser.parameters()))
    got = torch.autograd.grad(prepared.square().sum(), list(denoiser.parameters()))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_denoiser_that_knows_its_condition_is_the_same_function(denoiser: Denoiser) -> None:
    x, condition = torch.randn(6, 28), torch.randn(6, 9)
    denoise = denoiser.collapse(20).given(condition)
    for t in (0, 7, 19):
        torch.testing.assert_close(denoise(x, t), denoiser(x, torch.full((6,), t), condition)[0], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="with its number of time steps"):
        denoiser.collapse().given(condition)
