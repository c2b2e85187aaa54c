"""Where rollouts come from: worlds of this process, or of many."""

from functools import partial
from typing import Protocol, runtime_checkable

from d2ppo_core.config import FinetuneConfig
from d2ppo_core.envs.chunk import ChunkEnv
from d2ppo_core.envs.protocol import AutoresetMode, VecEnv
from d2ppo_core.finetune.observe import observer_of
from d2ppo_core.finetune.progress import Progress, silent
from d2ppo_core.finetune.rollout import LocalCollector, Rollout
from d2ppo_core.models.chain import ChainPolicy
from d2ppo_core.pretrain.checkpoint import Checkpoint


@runtime_checkable
class Collector(Protocol):
    """Acts in worlds and keeps what happened."""

    def collect(self, policy: ChainPolicy, *, chunks: int, seed: int, progress: Progress = silent) -> Rollout:
        """Start new episodes and act for `chunks` chunks; equal weights and seed give an equal rollout."""
        ...

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        ...


class MakeEnv(Protocol):
    """Builds the worlds to train in (SAME_STEP) or to evaluate in (DISABLED); travels to other processes by pickle."""

    def __call__(self, mode: AutoresetMode, /, *, num_envs: int = ...) -> VecEnv:
        """As many worlds as configured, or `num_envs` of them."""
        ...


def local_collector(env: VecEnv, origin: Checkpoint) -> LocalCollector:
    """A collector in `env` for policies of one pre-training. Raises ConfigError when `env` lacks what they read."""
    data = origin.config.data
    chunks = ChunkEnv(env, pred_horizon=data.pred_horizon, action_horizon=data.action_horizon)
    return LocalCollector(chunks, observer_of(origin))


def open_collector(config: FinetuneConfig, origin: Checkpoint, make_env: MakeEnv) -> Collector:
    """The collector that a configuration asks for.

    Raises ConfigError when the worlds lack what the policy reads, or when Ray is not there or has no room.
    """
    env = config.env
    if env.collector == "local":
        return local_collector(make_env(AutoresetMode.SAME_STEP), origin)
    from d2ppo_core.finetune.ray_collector import RayCollector  # needs Ray

    part = partial(_part, make_env, origin, env.num_envs // env.workers)
    return RayCollector(part, workers=env.workers, address=env.ray_address)


def _part(make_env: MakeEnv, origin: Checkpoint, num_envs: int) -> LocalCollector:
    return local_collector(make_env(AutoresetMode.SAME_STEP, num_envs=num_envs), origin)
