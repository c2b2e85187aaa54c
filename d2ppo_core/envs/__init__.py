"""Environments as training sees them: many at once, Gymnasium's vector conventions, action chunks."""

from d2ppo_core.envs.base import BatchEnv
from d2ppo_core.envs.chunk import ChunkEnv, ChunkStep
from d2ppo_core.envs.protocol import AutoresetMode, ChunkOutcome, VecEnv
from d2ppo_core.envs.spaces import Box

__all__ = ["AutoresetMode", "BatchEnv", "Box", "ChunkEnv", "ChunkOutcome", "ChunkStep", "VecEnv"]
