"""Replay for critics of chunks: what is looked ahead, what is drawn, and what an exact resume needs."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune import ring
from d2ppo_core.finetune.replay import Replay, look_ahead
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.finetune.runs import load_run
from d2ppo_core.models.build import Shapes

from .test_successes import reachable
from .tiny_runs import make_trainer

GAMMA = 0.9
Origins = Callable[[bool], Path]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def collected(origin: Path, seed: int = 1, *, images: bool = False) -> Rollout:
    """Episodes that are solved, run out of time, or are cut by the rollout's end, with rewards all over."""
    env = reachable(images=images, horizon_steps=14)
    trainer = make_trainer(origin, env)
    rollout = trainer.collector.collect(trainer.chain, chunks=11, seed=seed)
    assert rollout.terminated.any() and rollout.truncated.any() and not rollout.ended[-1].all()
    assert len(set(rollout.steps.flatten().tolist())) > 1  # chunks that success or time cut short
    return replace(rollout, reward=np.random.default_rng(seed).random(rollout.reward.shape, dtype=np.float32))


def filled(rollout: Rollout, capacity: int = 400, *, images: bool = False, shift: int = 0) -> Replay:
    shapes = Shapes(state_dim=rollout.state.shape[-1], action_dim=7)
    if images:
        shapes = replace(shapes, num_cameras=1, image_hw=(16, 16), camera_hw=(16, 16))
    replay = Replay(capacity, shapes, chunk_dim=28, random_shift_px=shift, device=torch.device("cpu"))
    replay.take(rollout, gamma=GAMMA, chunks=3)
    return replay


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_spans_are_those_that_are_added_up_one_by_one(origin: Path, ahead: int) -> None:
    rollout = collected(origin)
    spans = look_ahead(rollout, gamma=GAMMA, chunks=ahead)
    every = np.concatenate([rollout.state.reshape(-1, 4), rollout.next_state])
    chunks, worlds = rollout.reward.shape
    ends = {int(index): row for row, index in enumerate(rollout.next_index)}
    for c, n in np.ndindex(chunks, worlds):
        reward, discount, led_to = 0.0, 1.0, None
        for k in range(c, chunks):
            reward += discount * rollout.reward[k, n]
            discount *= GAMMA ** int(rollout.steps[k, n])
            if rollout.terminated[k, n]:
                discount = 0.0
            if rollout.terminated[k, n] or rollout.truncated[k, n] or k == chunks - 1:
                led_to = rollout.next_state[ends[k * worlds + n]]  # its own last observation, not the next episode's
                break
            if k - c + 1 == ahead:
                led_to = rollout.state[k + 1, n]
                break
        assert spans.reward[c, n] == pytest.approx(reward, rel=1e-5)
        assert spans.discount[c, n] == pytest.approx(discount, rel=1e-5)
        np.testing.assert_array_equal(every[spans.following[c, n]], led_to)


def test_what_is_drawn_belongs_together_even_after_many_rounds(origin: Path) -> None:
    rollouts = [collected(origin, seed) for seed in range(9)]
    replay = filled(rollouts[0])
    for rollout in rollouts[1:]:
        replay.take(rollout, gamma=GAMMA, chunks=3)
    assert replay.ring.written > 2 * replay.ring.capacity > 0 and 250 < len(replay) <= 400
    known: dict[tuple[float, ...], tuple[np.ndarray, ...]] = {}
    for rollout in rollouts:
        spans = look_ahead(rollout, gamma=GAMMA, chunks=3)
        every = np.concatenate([rollout.state.reshape(-1, 4), rollout.next_state])
        for c, n in np.ndindex(rollout.reward.shape):
            chunk, led_to = rollout.chain[c, n, -1].clip(-1, 1), every[spans.following[c, n]]
            known[tuple(rollout.state[c, n])] = (chunk, spans.reward[c, n], spans.discount[c, n], led_to)
    drawn = replay.draw(2000, seeded())
    for row in range(2000):
        wanted = known[tuple(drawn.state[row].numpy())]
        got = (drawn.chunk[row], drawn.reward[row], drawn.discount[row], drawn.next_state[row])
        for a, b in zip(wanted, got, strict=True):
            np.testing.assert_array_equal(a, b.numpy())
    assert len({tuple(row.numpy()) for row in drawn.state}) > 0.9 * len(replay)


def test_pictures_come_with_their_states_and_are_shifted_when_drawn(origins: Origins) -> None:
    rollout = collected(origins(True), images=True)
    assert rollout.images is not None
    replay = filled(rollout, images=True)
    drawn = replay.draw(50, seeded())
    pictures = rollout.images.reshape(-1, 1, 16, 16, 3)
    by_state = {tuple(s): i for s, i in zip(rollout.state.reshape(-1, 2), pictures, strict=True)}
    assert drawn.images is not None and drawn.next_images is not None
    for state, images in zip(drawn.state, drawn.images, strict=True):
        np.testing.assert_array_equal(by_state[tuple(state.numpy())], images.numpy())
    moved = filled(rollout, images=True, shift=3).draw(50, seeded())
    assert moved.images is not None and not torch.equal(moved.images, drawn.images)


def test_a_restored_replay_draws_the_same(origin: Path) -> None:
    replay = filled(collected(origin), capacity=180)
    for seed in (2, 3):
        replay.take(collected(origin, seed), gamma=GAMMA, chunks=3)
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    restored = filled(collected(origin, 9), capacity=180)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for each in (replay, restored):
        each.take(collected(origin, 4), gamma=GAMMA, chunks=3)
    for a, b in zip(replay.draw(300, seeded(5)), restored.draw(300, seeded(5)), strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_a_replay_larger_than_memory_is_one_line_before_anything_is_taken(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "free_bytes", lambda: 1_000_000)
    with pytest.raises(ConfigError, match=r"qppo.replay_chunks: 100000 rows take 0.01 GB, wanted at most half of the"):
        make_trainer(origin, algorithm="qppo", env={"terminate_on_success": True}, qppo={"replay_chunks": 100_000})
    shapes = load_run(origin).origin.shapes
    with pytest.raises(ConfigError, match=r"qppo.replay_chunks: 1000000 rows .* about \d+ would fit"):
        Replay(1_000_000, shapes, chunk_dim=28, random_shift_px=0, device=torch.device("cpu"))
