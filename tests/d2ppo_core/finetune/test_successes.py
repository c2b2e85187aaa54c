"""The buffer of own successes: what gets in and what does not, what it does to the actor, and exact resume."""

import io
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError
from d2ppo_core.finetune import ring
from d2ppo_core.finetune.checkpoint import load_checkpoint
from d2ppo_core.finetune.ring import Column, Ring
from d2ppo_core.finetune.rollout import Rollout, join_rollouts
from d2ppo_core.finetune.run import finetune
from d2ppo_core.finetune.successes import NOTHING_YET, Successes, solved_windows
from d2ppo_core.finetune.trainer import Trainer

from .test_run import assert_same_run, before_iteration
from .tiny_runs import finetune_config, make_trainer, tune
from .tiny_task import PointEnv, worlds

Origins = Callable[[bool], Path]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reachable(num_envs: int = 8, *, radius: float = 0.4, ends: bool = True, **options: Any) -> PointEnv:
    """Worlds whose goals are so large that some episodes are solved by whatever policy, and some are not."""
    env = PointEnv(num_envs, terminate_on_success=ends, **options)
    env.radius[:] = np.where(np.arange(num_envs) % 2, radius, 1e-6)
    return env


def prepared(
    origin: Path, env: PointEnv | None = None, ppo: dict[str, Any] | None = None, **self_cloning: Any
) -> tuple[Trainer, Successes]:
    section = {"weight": 1.0, "batch_size": 16} | self_cloning
    trainer = make_trainer(origin, env or reachable(), self_cloning=section, ppo=ppo or {})
    assert trainer.update.successes is not None
    return trainer, trainer.update.successes


def collected(trainer: Trainer, seed: int = 1) -> Rollout:
    return trainer.collector.collect(trainer.chain, chunks=11, seed=seed)


def episodes_of(rollout: Rollout) -> list[tuple[int, range, bool | None]]:
    """World, chunks and success of every episode, None where the rollout ended before it did; one by one."""
    found: list[tuple[int, range, bool | None]] = []
    for n in range(rollout.reward.shape[1]):
        begin = 0
        for c in range(len(rollout.reward)):
            if rollout.terminated[c, n] or rollout.truncated[c, n]:
                solved = bool(rollout.reward[begin : c + 1, n].sum() > 0)
                found.append((n, range(begin, c + 1), solved))
                begin = c + 1
        found.append((n, range(begin, len(rollout.reward)), None))
    return found


@pytest.mark.parametrize("ends", [True, False], ids=["ends when solved", "goes on when solved"])
def test_the_buffer_never_holds_a_failed_or_an_unfinished_episode(origin: Path, ends: bool) -> None:
    trainer, buffer = prepared(origin, reachable(ends=ends))
    rollout = collected(trainer)
    kinds = episodes_of(rollout)
    assert {solved for _, chunks, solved in kinds if chunks} == {True, False, None}
    wanted = {(c, n) for n, chunks, solved in kinds if solved for c in chunks}
    assert set(zip(*np.nonzero(solved_windows(rollout)), strict=True)) == wanted
    buffer.take(rollout, seed=0)
    held = buffer.ring.columns
    state, chunk = (held[name][: len(buffer)].numpy() for name in ("state", "chunk"))
    got = {(tuple(s), tuple(c)) for s, c in zip(state, chunk, strict=True)}
    rows = {(c, n): (tuple(rollout.state[c, n]), tuple(rollout.chain[c, n, -1].clip(-1, 1))) for c, n in wanted}
    assert len(buffer) == len(wanted) and got == set(rows.values())


def test_what_is_kept_is_the_chunk_as_it_was_executed(origin: Path) -> None:
    env = reachable(ends=False, radius=9.0)
    trainer, buffer = prepared(origin, env)
    rollout = trainer.collector.collect(trainer.chain, chunks=4, seed=1)
    buffer.take(rollout, seed=0)
    executed = np.stack(env.actions)[:, env.radius > 1].reshape(-1, 4, 7)
    kept = buffer.ring.columns["chunk"][: len(buffer)].reshape(-1, 4, 7)
    np.testing.assert_allclose(trainer.observer.actions(kept), executed, atol=1e-6)


def test_only_the_newest_are_kept(origin: Path) -> None:
    trainer, buffer = prepared(origin, capacity_chunks=20)
    rollouts = [collected(trainer, seed) for seed in range(4)]
    windows = np.concatenate([r.state[solved_windows(r)] for r in rollouts])
    assert len(windows) > 30
    for rollout in rollouts:
        buffer.take(rollout, seed=0)
    assert len(buffer) == 20
    held = {tuple(row) for row in buffer.ring.columns["state"].numpy()}
    assert held == {tuple(row) for row in windows[-20:]}


def test_the_term_is_added_to_the_actors_gradient_and_to_nothing_else(origin: Path) -> None:
    found = {}
    for weight in (1.0, 3.0):
        trainer, buffer = prepared(origin, weight=weight)
        buffer.take(collected(trainer), seed=0)
        trainer.update.actor_optimizer.zero_grad()
        scalars = trainer.update.clone_successes()
        gradient = [p.grad.clone() for p in trainer.update.actor_parameters if p.grad is not None]
        assert gradient and all(p.grad is None for p in trainer.critic.parameters())
        found[weight] = (scalars["losses/self_cloning"], gradient)
    assert found[1.0][0] == found[3.0][0] > 0
    for one, three in zip(found[1.0][1], found[3.0][1], strict=True):
        torch.testing.assert_close(3 * one, three, rtol=1e-4, atol=1e-7)


def test_the_policy_comes_nearer_to_its_successes(origin: Path) -> None:
    trainer, _ = prepared(origin, ppo={"actor_lr": 1e-3, "epochs": 20}, weight=1.0, batch_size=64)
    rollout = collected(trainer)
    still = replace(rollout, reward=np.zeros_like(rollout.reward))  # no advantage anywhere: the term alone
    losses = [trainer.update.update(still, seeded(i))["losses/self_cloning"] for i in range(3)]
    assert losses[-1] < 0.9 * losses[0], losses


def test_without_a_success_the_term_is_off_and_that_is_said_once(
    origin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def far(mode: AutoresetMode) -> PointEnv:
        env = PointEnv(8, autoreset_mode=mode)
        env.radius[:] = 1e-9
        return env

    config = finetune_config(self_cloning={"weight": 1.0})
    finetune(config, origin, far, tmp_path / "with", progress=False)
    assert capsys.readouterr().err == f"d2ppo: {NOTHING_YET}\n"
    finetune(finetune_config(), origin, far, tmp_path / "without", progress=False)
    one, other = (load_checkpoint(tmp_path / name).learner["actor"] for name in ("with", "without"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert "losses/self_cloning" not in load_checkpoint(tmp_path / "with").learner


@pytest.mark.parametrize("images", [False, True], ids=["state", "image"])
def test_a_resumed_run_ends_with_the_same_bits(
    origins: Origins, tmp_path: Path, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = 2 if images else 0
    cloning = {"weight": 0.5, "capacity_chunks": 50, "batch_size": 16}
    config = finetune_config(self_cloning=cloning, ppo={"random_shift_px": shift})
    make = make_reachable(images)
    finetune(config, origins(images), make, tmp_path / "whole", progress=False)
    before_iteration(monkeypatch, 1, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert not finetune(config, origins(images), make, tmp_path / "parts", progress=False).finished
    monkeypatch.undo()
    assert finetune(config, origins(images), make, tmp_path / "parts", resume=True, progress=False).finished
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    held = load_checkpoint(tmp_path / "whole").learner["successes"]
    assert held["written"] > 50 and len(held["columns"]["chunk"]) == 50


def make_reachable(images: bool) -> Callable[[AutoresetMode], PointEnv]:
    def make(mode: AutoresetMode) -> PointEnv:
        env = worlds(8, images=images)(mode)
        env.radius[:] = 0.4
        return env

    return make


def test_a_restored_buffer_holds_the_same_rows_in_the_same_places(origin: Path) -> None:
    trainer, buffer = prepared(origin, capacity_chunks=30)
    for seed in range(3):
        buffer.take(collected(trainer, seed), seed=seed)
    saved = io.BytesIO()
    torch.save(buffer.state_dict(), saved)
    saved.seek(0)
    _, restored = prepared(origin, capacity_chunks=30)
    restored.load_state_dict(torch.load(saved, weights_only=True))
    last = collected(trainer, 7)
    for each in (buffer, restored):
        each.take(last, seed=9)
    for name, values in buffer.ring.columns.items():
        assert torch.equal(values, restored.ring.columns[name]), name
    assert torch.equal(buffer.loss(trainer.chain), restored.loss(trainer.chain))


def test_joined_rollouts_keep_who_solved_what(origin: Path) -> None:
    trainer, _ = prepared(origin)
    one, other = collected(trainer, 1), collected(trainer, 2)
    joined = join_rollouts([one, other])
    assert np.array_equal(joined.solved, np.concatenate([one.solved, other.solved], axis=1))
    assert np.array_equal(joined.steps, np.concatenate([one.steps, other.steps], axis=1))
    assert joined.solved.sum() == joined.successes and joined.steps.sum() == joined.env_steps


def test_a_buffer_larger_than_memory_is_one_line_before_anything_is_taken(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = (
        r"self_cloning.capacity_chunks: 1000000000000 rows take 128000.00 GB, wanted at most half of the .* GB that "
        r"are free; about \d+ would fit"
    )
    with pytest.raises(ConfigError, match=wanted):
        prepared(origin, capacity_chunks=1_000_000_000_000)
    monkeypatch.setattr(ring, "free_bytes", lambda: 2 * 10 * 12)
    Ring(10, {"a": Column((3,))}, key="x")
    with pytest.raises(ConfigError, match="about 10 would fit"):
        Ring(11, {"a": Column((3,))}, key="x")


def test_regression_has_no_use_for_it(origin: Path) -> None:
    with pytest.raises(ConfigError, match=r"self_cloning.weight: wanted 0 with dawr, which clones already, got 1.0"):
        finetune_config(algorithm="dawr", self_cloning={"weight": 1.0})
    with pytest.raises(ConfigError, match=r"self_cloning.batch_size: wanted >= 1, got 0"):
        finetune_config(self_cloning={"batch_size": 0})


def test_runs_from_before_go_on_without_it(origin: Path, tmp_path: Path) -> None:
    tune(finetune_config(iterations=1), origin, tmp_path)
    saved = load_checkpoint(tmp_path)
    assert "successes" not in saved.learner
    assert tune(finetune_config(iterations=2), origin, tmp_path, resume=True).finished
