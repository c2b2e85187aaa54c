"""What `bench_training.py` compares: the work of this project and of the published loops, each as a callable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from published.agreement import finetuning_gap, pretraining_gap, take_weights  # noqa: E402
from published.diffusion import TwoNetworkChain  # noqa: E402
from published.finetuning import FloatBuffers  # noqa: E402
from published.finetuning import PpoUpdate as PublishedUpdate  # noqa: E402
from published.networks import NoiseNetwork, ValueNetwork  # noqa: E402
from published.pretraining import ChunkDataset, Pretraining  # noqa: E402

from d2ppo_core.config import FinetuneConfig, from_mapping, load_config  # noqa: E402
from d2ppo_core.data.windows import Windows  # noqa: E402
from d2ppo_core.finetune.experience import Experience  # noqa: E402
from d2ppo_core.finetune.minibatch import minibatches  # noqa: E402
from d2ppo_core.finetune.ppo import PpoUpdate  # noqa: E402
from d2ppo_core.models.build import Shapes, build_policy  # noqa: E402
from d2ppo_core.models.chain import DiffusionChain  # noqa: E402
from d2ppo_core.models.critic import Critic  # noqa: E402
from d2ppo_core.pretrain.batches import draw_batch  # noqa: E402
from d2ppo_core.pretrain.objective import objective  # noqa: E402
from d2ppo_core.pretrain.trainer import Trainer  # noqa: E402

BATCH, ENVS = 256, 50
STATE_DIM = {False: 19, True: 9}
"""With images or without."""
SAME_NETWORK = ("model.stem=overlap", "optim.precision=float32")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; `build` returns (published, ours), two callables that do the work once."""

    build: Callable[[], tuple[Callable[[], object], Callable[[], object]]]
    published_ms: float | None
    """Of the published code itself, processor time; None = not known."""
    wanted: float
    """Least ratio; 0 = for information."""
    most_ms: float = float("inf")
    """Budget of ours."""
    calls: int = 1
    """In a row before the other side's turn, so that short work finds its own data in the cache, as in a training."""


def random_windows(images):
    """Training data with the shapes of Lift."""
    rng = np.random.default_rng(0)
    count = 600 if images else 14_000
    return Windows(
        state=rng.uniform(-1, 1, (count, STATE_DIM[images])).astype(np.float32),
        chunks=rng.uniform(-1, 1, (count, 4, 7)).astype(np.float32),
        images=rng.integers(0, 256, (count, 1, 96, 96, 3), dtype=np.uint8) if images else None,
        low_dim_sizes=(3, 4, 2) if images else (3, 4, 2, 10),
        num_episodes=1,
    )


def pretrain_config(images, overrides=()):
    """The shipped configuration with the published batch, 256 observations with one noise each, past its beginning."""
    fixed = (f"optim.batch_size={BATCH}", "loss.noise_samples_per_obs=1", "optim.ema_start_step=0")
    return load_config("lift_image" if images else "lift_state", [*fixed, *overrides])


def pretraining(images, dispersive, overrides=()):
    """One optimiser step of pre-training at B = 256."""
    windows = random_windows(images)
    pictures = windows.images[:, 0].transpose(0, 3, 1, 2).copy() if images else None
    published = Pretraining(
        NoiseNetwork(STATE_DIM[images], images=images),
        ChunkDataset(windows.state, windows.chunks, pictures),
        num_train_steps=100 if images else 20,
        batch_size=BATCH,
        dispersive_weight=0.5 if dispersive else 0.0,
    )
    term = f"loss.dispersive={'infonce_l2' if dispersive else 'none'}"
    trainer = Trainer(pretrain_config(images, (term, *overrides)), windows, None, {"sha256": ""})
    return published.step, lambda: trainer.train_step(detailed=False)


def finetune_config(images, **ppo):
    """Fine-tuning of Lift: DDPM 20 of which 10 (state), DDIM 5 of which 5 (image)."""
    chain = {"num_denoising_steps": 5, "finetuned_steps": 5} if images else {}
    grouping = {"grouping": "observations", "minibatch_pairs": 500} if images else {}
    return from_mapping(FinetuneConfig, {"name": "b", "task": "lift", "chain": chain, "ppo": grouping | ppo})


def networks(images, overrides=(), **ppo):
    """Chain and critic of this project, and their configuration."""
    torch.manual_seed(0)
    shapes = Shapes(state_dim=STATE_DIM[images], action_dim=7, num_cameras=int(images), image_hw=(96, 96))
    config, tuning = pretrain_config(images, overrides), finetune_config(images, **ppo)
    chain = DiffusionChain(build_policy(config, shapes), tuning.chain, action_horizon=4)
    return chain, Critic(build_policy(config, shapes).encoder), tuning


def published_networks(images, train_steps=None):
    """The same of the reference."""
    steps, tuned = (5, 5) if images else (20, 10)
    network = NoiseNetwork(STATE_DIM[images], images=images)
    chain = TwoNetworkChain(network, 100 if images else 20, steps, tuned)
    return PublishedUpdate(chain, ValueNetwork(STATE_DIM[images], images=images))


def random_experience(images, tuned):
    """As this project and as the published loop keep it."""
    count, g = 600 if images else 15_000, torch.Generator().manual_seed(0)
    draw = {name: torch.randn(count, *shape, generator=g) for name, shape in {
        "state": (STATE_DIM[images],), "chain": (tuned + 1, 28), "log_prob": (tuned,),
        "advantage": (), "target": (), "value": (),
    }.items()}  # fmt: skip
    pictures = torch.randint(256, (count, 1, 96, 96, 3), generator=g, dtype=torch.uint8) if images else None
    published = {
        "state": draw["state"][:, None], "chains": draw["chain"].unflatten(-1, (4, 7)),
        "log_prob": draw["log_prob"][..., None, None].expand(-1, -1, 4, 7).contiguous(),
        "advantage": draw["advantage"], "target": draw["target"],
    }  # fmt: skip
    if images:
        published["rgb"] = pictures.permute(0, 1, 4, 2, 3).float().contiguous()
    return Experience(images=pictures, **draw), published


def ppo(images, overrides=(), **settings):
    """One optimiser step of fine-tuning: 7500 pairs (state) or 500 pairs (image)."""
    chain, critic, config = networks(images, overrides, **settings)
    update, published = PpoUpdate(chain, critic, config.ppo), published_networks(images)
    mine, theirs = random_experience(images, chain.num_steps)
    g = torch.Generator().manual_seed(0)

    def endless(one_epoch):
        while True:
            yield from one_epoch()

    count, size = len(mine.state), config.ppo.minibatch_pairs
    ours = endless(lambda: minibatches(count, chain.num_steps, config.ppo, g))
    pairs = endless(lambda: torch.randperm(count * chain.num_steps, generator=g).split(size))
    return (
        lambda: published.step(theirs, next(pairs)),
        lambda: update.step(mine, next(ours), actor=True),
    )


def rollout(images, overrides=(), *, log_prob=False):
    """The policy's part of one chunk in 50 worlds; `log_prob` adds what the published loop does after the rollout."""
    chain, _, _ = networks(images, overrides)
    published = published_networks(images).chain
    rng, g = np.random.default_rng(0), torch.Generator().manual_seed(0)
    state = rng.uniform(-1, 1, (ENVS, STATE_DIM[images])).astype(np.float32)
    pictures = rng.integers(0, 256, (ENVS, 1, 96, 96, 3), dtype=np.uint8) if images else None
    seen = {"state": state[:, None]} | ({"rgb": pictures.transpose(0, 1, 4, 2, 3)} if images else {})
    buffers = FloatBuffers(1, ENVS, STATE_DIM[images], published.num_tuned, (3, 96, 96) if images else None)

    def theirs():
        buffers.state[0] = seen["state"]
        if images:
            buffers.rgb[0] = seen["rgb"]
        cond = buffers.condition_of(seen)
        actions, chains = published.sample(cond)
        buffers.chains[0] = chains.numpy()
        if log_prob:
            published.log_prob_of_chains(cond, chains)
        return actions

    def mine():
        return chain.sample(torch.from_numpy(state), None if pictures is None else torch.from_numpy(pictures), g)

    return theirs, mine


ROWS = {
    "pretrain_state": Row(
        build=lambda: pretraining(False, False), published_ms=16.0, wanted=2.0, calls=10, most_ms=8.0
    ),
    "pretrain_state_same_network": Row(
        build=lambda: pretraining(False, False, SAME_NETWORK), published_ms=16.0, wanted=0.0, calls=10
    ),
    "pretrain_state_dispersive": Row(build=lambda: pretraining(False, True), published_ms=None, wanted=0.0, calls=10),
    "pretrain_image": Row(build=lambda: pretraining(True, False), published_ms=1690.0, wanted=2.0),
    "pretrain_image_dispersive": Row(build=lambda: pretraining(True, True), published_ms=4080.0, wanted=4.0),
    "pretrain_image_same_network": Row(
        build=lambda: pretraining(True, False, SAME_NETWORK), published_ms=1690.0, wanted=0.0
    ),
    "pretrain_image_dispersive_same_network": Row(
        build=lambda: pretraining(True, True, SAME_NETWORK), published_ms=4080.0, wanted=0.0
    ),
    "ppo_state": Row(build=lambda: ppo(False), published_ms=689.0, wanted=1.8),
    "ppo_state_shared_critic": Row(build=lambda: ppo(False, critic_batches="shared"), published_ms=689.0, wanted=0.0),
    "ppo_image": Row(build=lambda: ppo(True), published_ms=6450.0, wanted=5.0),
    "ppo_image_same_network": Row(build=lambda: ppo(True, SAME_NETWORK), published_ms=6450.0, wanted=0.0),
    "rollout_state": Row(build=lambda: rollout(False), published_ms=37.0, wanted=2.0, calls=10),
    "rollout_state_with_log_prob": Row(
        build=lambda: rollout(False, log_prob=True), published_ms=None, wanted=0.0, calls=10
    ),
    "rollout_image": Row(build=lambda: rollout(True), published_ms=858.0, wanted=5.0),
    "rollout_image_same_network": Row(build=lambda: rollout(True, SAME_NETWORK), published_ms=858.0, wanted=0.0),
}


def agreement(images):
    """Largest gaps between the reference and this project, both with the published stem in float32."""
    overrides = ("loss.dispersive=none", *SAME_NETWORK)
    trainer = Trainer(pretrain_config(images, overrides), random_windows(images), None, {"sha256": ""})
    reference = NoiseNetwork(STATE_DIM[images], images=images)
    take_weights(reference, trainer.policy)
    batch = draw_batch(trainer.data, trainer.config, 0)
    found = pretraining_gap(
        reference, trainer.policy, batch, lambda p, b: objective(p, b, trainer.config, tap="", weight=0.0).total
    )
    chain, critic, _ = networks(images, SAME_NETWORK)
    published = published_networks(images)
    for network in (published.chain.frozen, published.chain.tuned):
        take_weights(network, chain.policy)
    take_weights(published.value, critic)
    windows = random_windows(images)
    state = torch.from_numpy(windows.state[:20])
    pictures = None if windows.images is None else torch.from_numpy(windows.images[:20])
    return found | finetuning_gap(published, published.value, chain, critic, state, pictures)
