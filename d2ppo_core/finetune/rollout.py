"""Collecting experience: chunks, their denoising chains and what they led to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from d2ppo_core.envs.chunk import ChunkEnv, ChunkStep
from d2ppo_core.finetune.observe import Inputs, Observer
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.models.chain import ChainPolicy, ChainSample


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """C chunks in N worlds."""

    state: NDArray[np.float32]
    """(C, N, Ds) normalised observations that the chunks answer."""
    images: NDArray[np.uint8] | None
    """(C, N, Ncam, H, W, 3)."""
    chain: NDArray[np.float32]
    """(C, N, K' + 1, D)."""
    log_prob: NDArray[np.float32]
    """(C, N, K') under the policy that acted."""
    reward: NDArray[np.float32]
    """(C, N) as the environment gave it."""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    solved: NDArray[np.bool_]
    """(C, N) an episode ended with this chunk, and it was solved at any of its steps."""
    steps: NDArray[np.int32]
    """(C, N) control steps executed."""
    next_state: NDArray[np.float32]
    """(E, Ds) what chunks led to where that is not the next chunk's observation: at ends of episodes and at the end."""
    next_images: NDArray[np.uint8] | None
    next_index: NDArray[np.int64]
    """(E,) which chunks these belong to, c * N + n."""
    episodes: int
    """Finished ones."""
    successes: int
    env_steps: int

    @property
    def ended(self) -> NDArray[np.bool_]:
        """(C, N) an episode ended with this chunk."""
        return np.asarray(self.terminated | self.truncated)


class LocalCollector:
    """Acts in worlds of this process."""

    def __init__(self, env: ChunkEnv, observer: Observer) -> None:
        """Use `env` (SAME_STEP autoreset). Raises ConfigError when it lacks what the policy reads."""
        observer.check(tuple(env.single_observation_space))
        self.env, self.observer = env, observer

    def collect(self, policy: ChainPolicy, *, chunks: int, seed: int, progress: Progress = silent) -> Rollout:
        """Start new episodes and act for `chunks` chunks; equal weights and seed give an equal rollout.

        The policy acts where its weights are; noise comes from a CPU generator, the same for every device.
        """
        generator, device = torch.Generator().manual_seed(seed), next(policy.parameters()).device
        env = self.env
        env.clear_statistics()
        obs, _ = env.reset(seed=[int(s) for s in np.random.SeedSequence(seed).generate_state(env.num_envs)])
        taken: list[tuple[Inputs, ChainSample, ChunkStep]] = []
        ends: list[tuple[int, Inputs]] = []
        for chunk in range(chunks):
            inputs = self.observer.inputs(obs)
            drawn = policy.sample(*inputs.tensors(device), generator)
            step = env.step(self.observer.actions(drawn.actions))
            taken.append((inputs, drawn, step))
            ended = step.terminated | step.truncated
            last = chunk + 1 == chunks
            if ended.any() or last:
                final = self.observer.inputs(step.info["final_obs"]) if ended.any() else None
                following = self.observer.inputs(step.obs) if last else None
                for n in np.flatnonzero(ended | last):
                    source = final if ended[n] else following
                    assert source is not None
                    ends.append((chunk * env.num_envs + int(n), _row(source, int(n))))
            obs = step.obs
            progress((chunk + 1) / chunks)
        return _join(taken, ends, env)

    def close(self) -> None:
        """Close the worlds."""
        self.env.close()


def join_rollouts(parts: Sequence[Rollout]) -> Rollout:
    """Rollouts of equally many chunks side by side: the worlds of the first part come first. Nothing is shared."""

    def beside(values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
        found = [value for value in values if value is not None]
        return np.concatenate(found, axis=1) if found else None

    sizes = [part.reward.shape[1] for part in parts]
    chunks, worlds = np.concatenate(
        [np.divmod(part.next_index, size) for part, size in zip(parts, sizes, strict=True)], axis=1
    )
    worlds = worlds + np.repeat(np.cumsum([0, *sizes[:-1]]), [len(part.next_index) for part in parts])
    index = chunks * sum(sizes) + worlds
    order = np.argsort(index)
    ends = [part.next_images for part in parts if part.next_images is not None]
    arrays = {
        name: beside([getattr(part, name) for part in parts])
        for name in ("state", "images", "chain", "log_prob", "reward", "terminated", "truncated", "solved", "steps")
    }
    joined: dict[str, Any] = {
        **arrays,
        "next_state": np.concatenate([part.next_state for part in parts])[order],
        "next_images": np.concatenate(ends)[order] if ends else None,
        "next_index": index[order],
        **{name: sum(getattr(part, name) for part in parts) for name in ("episodes", "successes", "env_steps")},
    }
    return Rollout(**joined)


def _row(inputs: Inputs, n: int) -> Inputs:
    return Inputs(state=inputs.state[n], images=None if inputs.images is None else inputs.images[n])


def _solved(step: ChunkStep) -> NDArray[np.bool_]:
    ended = step.terminated | step.truncated
    return ended & np.asarray(step.info["episode"]["success"], bool) if ended.any() else ended


def _images(inputs: Sequence[Inputs]) -> NDArray[np.uint8] | None:
    return np.stack([i.images for i in inputs if i.images is not None]) if inputs[0].images is not None else None


def _join(taken: list[tuple[Inputs, ChainSample, ChunkStep]], ends: list[tuple[int, Inputs]], env: ChunkEnv) -> Rollout:
    inputs, drawn, steps = zip(*taken, strict=True)
    return Rollout(
        state=np.stack([i.state for i in inputs]),
        images=_images(inputs),
        chain=torch.stack([d.chain for d in drawn]).cpu().numpy(),
        log_prob=torch.stack([d.log_prob for d in drawn]).cpu().numpy(),
        reward=np.stack([s.reward for s in steps]),
        terminated=np.stack([s.terminated for s in steps]),
        truncated=np.stack([s.truncated for s in steps]),
        solved=np.stack([_solved(s) for s in steps]),
        steps=np.stack([s.steps for s in steps]),
        next_state=np.stack([i.state for _, i in ends]),
        next_images=_images([i for _, i in ends]),
        next_index=np.array([index for index, _ in ends]),
        episodes=env.episodes,
        successes=env.successes,
        env_steps=int(sum(s.steps.sum() for s in steps)),
    )
