import torch

from d2ppo_core.models.half import half_product


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_product_and_gradients_are_float32_and_right_to_eight_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, pull = (torch.randn(shape, generator=generator) for shape in ((64, 48), (32, 48), (64, 32)))
    x.requires_grad_()
    weight.requires_grad_()
    got, wanted = half_product(x, weight), x @ weight.T
    assert got.dtype == torch.float32 and 0 < relative_error(got, wanted) < 0.01
    ours = torch.autograd.grad((got * pull).sum(), (x, weight))
    theirs = torch.autograd.grad((wanted * pull).sum(), (x, weight))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == torch.float32 and one.is_contiguous() and relative_error(one, other) < 0.01


def test_numbers_that_bfloat16_holds_are_multiplied_exactly() -> None:
    x, weight = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 4.0], [3.0, 0.25]])
    assert torch.equal(half_product(x, weight), torch.tensor([[-7.5, 2.5]]))
