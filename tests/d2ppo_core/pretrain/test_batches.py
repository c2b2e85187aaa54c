from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.normalizer import Normalizer, Range
from d2ppo_core.data.windows import load_windows
from d2ppo_core.pretrain.batches import Tensors, batch_indices, draw_batch, draw_shifts, shifted_images
from d2ppo_core.pretrain.distributed import Processes


def test_an_epoch_visits_every_window_at_most_once() -> None:
    seen = torch.cat([batch_indices(50, 8, seed=3, step=step) for step in range(6)])
    assert len(seen.unique()) == 48


def test_epochs_and_seeds_are_shuffled_differently_and_repeatably() -> None:
    first = batch_indices(50, 8, seed=0, step=0)
    assert torch.equal(batch_indices(50, 8, seed=0, step=0), first)
    assert not torch.equal(batch_indices(50, 8, seed=0, step=6), first)
    assert not torch.equal(batch_indices(50, 8, seed=1, step=0), first)


def test_a_dataset_smaller_than_a_batch_is_used_whole() -> None:
    assert sorted(batch_indices(5, 8, seed=0, step=7).tolist()) == [0, 1, 2, 3, 4]


def numbered_images(count: int, cameras: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    frame = torch.stack([y, x, torch.zeros_like(x)], dim=-1).to(torch.uint8)
    images = frame.repeat(count, cameras, 1, 1, 1)
    images[..., 2] = (10 * torch.arange(count)[:, None] + torch.arange(cameras))[..., None, None].to(torch.uint8)
    return images


def test_each_image_is_shifted_as_a_whole_and_border_pixels_repeat() -> None:
    images, indices = numbered_images(6, 2), torch.tensor([4, 0, 5, 1])
    out = shifted_images(images, indices, draw_shifts(4, 2, 3, torch.Generator().manual_seed(0)))
    offsets = set()
    for b in range(4):
        for camera in range(2):
            picture = out[b, camera].int()
            assert (picture[..., 2] == 10 * indices[b] + camera).all()
            dy, dx = int(picture[8, 8, 0]) - 8, int(picture[8, 8, 1]) - 8
            assert max(abs(dy), abs(dx)) <= 3
            assert torch.equal(picture[..., 0], (torch.arange(16) + dy).clamp(0, 15)[:, None].expand(16, 16).int())
            assert torch.equal(picture[..., 1], (torch.arange(16) + dx).clamp(0, 15)[None].expand(16, 16).int())
            offsets.add((dy, dx))
    assert len(offsets) > 4


def test_no_shift_only_selects() -> None:
    images = numbered_images(3, 1)
    assert draw_shifts(1, 1, 0, torch.Generator()) is None
    assert torch.equal(shifted_images(images, torch.tensor([2]), None), images[2:])


@pytest.fixture
def data(dataset: Path, tiny_config: Callable[..., PretrainConfig]) -> Tensors:
    windows, _ = load_windows(dataset, tiny_config(images=True).data)
    normalizer = Normalizer(
        state=Range.measure(windows.state, min_range=0.02),
        action=Range.measure(windows.chunks.reshape(-1, 7), min_range=0.02),
    )
    return Tensors.from_windows(windows, normalizer)


def test_a_batch_is_a_function_of_seed_and_step(data: Tensors, tiny_config: Callable[..., PretrainConfig]) -> None:
    config = tiny_config(images=True)
    one, two, other = (draw_batch(data, config, step) for step in (3, 3, 4))
    assert torch.equal(one.eps, two.eps) and torch.equal(one.t, two.t)
    assert one.images is not None and two.images is not None and torch.equal(one.images, two.images)
    assert not torch.equal(one.eps, other.eps)


def test_each_observation_gets_its_chunk_with_several_noises(
    data: Tensors, tiny_config: Callable[..., PretrainConfig]
) -> None:
    batch = draw_batch(data, tiny_config(images=True, loss={"noise_samples_per_obs": 3}), 0)
    assert batch.state.shape == (8, 9) and batch.chunks.shape == batch.eps.shape == (24, 28)
    assert torch.equal(batch.chunks[0], batch.chunks[2]) and not torch.equal(batch.eps[0], batch.eps[2])
    assert batch.chunks.abs().max() <= 1 and batch.t.max() < 20


def test_state_noise_is_added_only_when_asked_for(data: Tensors, tiny_config: Callable[..., PretrainConfig]) -> None:
    clean = draw_batch(data, tiny_config(images=True), 0)
    noisy = draw_batch(data, tiny_config(images=True, data={"state_noise_std": 0.1}), 0)
    indices = batch_indices(len(data), 8, 0, 0)
    assert torch.equal(clean.state, data.state[indices])
    assert 0.03 < (noisy.state - clean.state).std() < 0.3


def test_the_shares_of_several_processes_make_up_the_batch(
    data: Tensors, tiny_config: Callable[..., PretrainConfig]
) -> None:
    config = tiny_config(images=True, data={"state_noise_std": 0.1}, loss={"noise_samples_per_obs": 3})
    whole = draw_batch(data, config, 5)
    for rank in range(2):
        part = draw_batch(data, config, 5, Processes(rank=rank, world=2))
        assert torch.equal(part.state, whole.state[rank::2])
        assert part.images is not None and whole.images is not None
        assert torch.equal(part.images, whole.images[rank::2])
        assert torch.equal(part.eps.view(4, 3, -1), whole.eps.view(8, 3, -1)[rank::2])
        assert torch.equal(part.chunks.view(4, 3, -1), whole.chunks.view(8, 3, -1)[rank::2])
        assert torch.equal(part.t.view(4, 3), whole.t.view(8, 3)[rank::2])


def test_only_the_published_term_gets_the_pictures_twice(
    data: Tensors, tiny_config: Callable[..., PretrainConfig]
) -> None:
    assert draw_batch(data, tiny_config(images=True), 0).images_again is None
    official = {"dispersive_form": "published", "dispersive_tap": "mid", "noise_samples_per_obs": 1}
    batch = draw_batch(data, tiny_config(images=True, loss=official), 0)
    assert batch.images is not None and batch.images_again is not None
    assert batch.images.shape == batch.images_again.shape
    assert not torch.equal(batch.images, batch.images_again)
