import pytest
import torch
from torch.nn import functional as F

from d2ppo_core.models import mish as module
from d2ppo_core.models.mish import mish


@pytest.fixture(autouse=True)
def _ours_for_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORTHWHILE", 0)


def points(dtype: torch.dtype) -> torch.Tensor:
    return torch.cat([torch.linspace(-60, 60, 2001), torch.tensor([-1e4, 0.0, 1e4])]).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
def test_value_and_derivative_are_those_of_torch(dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = points(dtype).requires_grad_(), points(dtype).requires_grad_()
    got, wanted = mish(ours), F.mish(theirs)
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        torch.autograd.grad(got.sum(), ours)[0],
        torch.autograd.grad(wanted.sum(), theirs)[0],
        rtol=tolerance,
        atol=tolerance,
    )


def test_gradient_is_the_numerical_one() -> None:
    assert torch.autograd.gradcheck(mish, torch.randn(5, 3, dtype=torch.float64, requires_grad=True))


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(7, 10).T.requires_grad_()  # not contiguous either
    whole = mish(x)
    (slope,) = torch.autograd.grad(whole.sum(), x)
    monkeypatch.setattr(module, "_BLOCK", 16)
    parts = mish(x)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.sum(), x)[0], slope)


def test_values_have_the_same_bits_with_and_without_gradients() -> None:
    x = torch.randn(100)
    with torch.no_grad():
        without = mish(x)
    assert torch.equal(mish(x.requires_grad_()), without)


def test_not_a_number_stays_one() -> None:
    assert torch.isnan(mish(torch.tensor([float("nan")]))).all()


def test_half_precision_and_few_numbers_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mish(torch.ones(3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert mish(torch.ones(0, 4)).shape == (0, 4)
    monkeypatch.setattr(module, "_WORTHWHILE", 10)
    x = torch.randn(9, requires_grad=True)
    assert "Mish" in type(mish(x).grad_fn).__name__ and "_Mish" not in type(mish(x).grad_fn).__name__
    assert "_Mish" in type(mish(torch.randn(10, requires_grad=True)).grad_fn).__name__
