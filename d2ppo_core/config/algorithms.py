"""What stands beside PPO in the second stage: the off-policy algorithm, and the cloning of own successes."""

from dataclasses import dataclass

from d2ppo_core.config.checks import require


@dataclass(frozen=True, kw_only=True)
class QppoConfig:
    """The update of `qppo`; epochs, minibatches, clip range, rates, averaging and warm-up are those of `ppo`."""

    critics: int = 10
    """Members of the ensemble; their sizes are those of `critic`."""
    gamma: float = 0.995
    """Discount per control step."""
    return_chunks: int = 10
    """So many executed chunks' rewards are taken as they came; behind them the critics are asked."""
    replay_chunks: int = 100_000
    """Observations remembered, the newest; a checkpoint holds them all."""
    critic_updates: int = 200
    """Optimiser steps of the critics per iteration."""
    batch_size: int = 256
    """Chunks per optimiser step of the critics."""
    target_decay: float = 0.98
    """Of the averaged critics that targets are made with, per optimiser step."""
    observations: int = 512
    """Drawn from replay per iteration, to be answered by the policy that acted in it."""
    chains: int = 8
    """Chunks drawn for each observation; `ppo.epochs` and `ppo.minibatch_pairs` say how they are learned from."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a count that is too small or a share beyond [0, 1)."""
        for name in (
            "return_chunks", "replay_chunks", "critic_updates", "batch_size", "observations",
        ):  # fmt: skip
            require(getattr(self, name) >= 1, f"qppo.{name}: wanted >= 1, got {getattr(self, name)}")
        for name in ("critics", "chains"):
            require(getattr(self, name) >= 2, f"qppo.{name}: wanted >= 2, got {getattr(self, name)}")
        for name in ("gamma", "target_decay"):
            require(0 <= getattr(self, name) < 1, f"qppo.{name}: wanted in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class SelfCloningConfig:
    """Cloning of what the policy itself did in episodes that it solved, beside `ppo` or `qppo`."""

    weight: float = 0.0
    """Of the noise-prediction loss in the actor's loss; 0 = no buffer."""
    capacity_chunks: int = 20_000
    """The newest chunks of solved episodes are kept, with their observations."""
    batch_size: int = 256
    """Chunks per optimiser step."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a negative weight or a size < 1."""
        require(self.weight >= 0, f"self_cloning.weight: wanted >= 0, got {self.weight}")
        for name in ("capacity_chunks", "batch_size"):
            require(getattr(self, name) >= 1, f"self_cloning.{name}: wanted >= 1, got {getattr(self, name)}")
