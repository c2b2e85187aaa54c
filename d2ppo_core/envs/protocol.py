"""What every environment offers to training and evaluation: N worlds side by side.

The conventions are those of Gymnasium's vector environments: `terminated` and `truncated` are apart, a world that ends
starts again within the same step (`SAME_STEP`), and its last observation is then found in `info["final_obs"]`. Two
things are added: `step_chunk`, because policies here act in chunks, and a success flag.

`info` holds
    success (N,) bool: the task was solved after the latest executed step of this call;
    final_obs: observations like `obs`, valid where `_final_obs` (N,) bool is set;
    episode: {return, length, success (at any step), success_at_end} (N,) each, valid where `_episode` (N,) is set.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from d2ppo_core.envs.spaces import Box

Observation = dict[str, NDArray[Any]]
"""Name -> (N, ...)."""
Info = dict[str, Any]


class AutoresetMode(enum.Enum):
    """When a world whose episode ended starts again; Gymnasium's names."""

    SAME_STEP = "SameStep"
    """Within the step that ended it."""
    DISABLED = "Disabled"
    """When `reset` is called with `options={"reset_mask": mask}`; until then the world stands still."""


@dataclass(frozen=True, kw_only=True)
class ChunkOutcome:
    """What a chunk of T actions led to. Nothing is executed after the end of an episode."""

    obs: Observation
    """After the chunk; of the next episode where one ended and the mode is SAME_STEP."""
    rewards: NDArray[np.float32]
    """(N, T); 0 for actions that were not executed."""
    success: NDArray[np.bool_]
    """(N, T) whether the task was solved after each action; False for actions that were not executed."""
    steps: NDArray[np.int32]
    """(N,) actions executed."""
    terminated: NDArray[np.bool_]
    """(N,) the task ended the episode."""
    truncated: NDArray[np.bool_]
    """(N,) time, or a diverging simulation, ended it."""
    info: Info


@runtime_checkable
class VecEnv(Protocol):
    """N worlds of one task. Not for use by several threads at once."""

    @property
    def num_envs(self) -> int:
        """Number of worlds N."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`autoreset_mode`, `control_hz`, `task`, and what else has to be recorded with a trained policy."""
        ...

    @property
    def single_observation_space(self) -> Mapping[str, Box]:
        """Observations of one world, by name, in the order of the policies' input."""
        ...

    @property
    def single_action_space(self) -> Box:
        """Actions of one world."""
        ...

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start episodes.

        Args:
            seed: world i is seeded with `seed + i`, or with `seed[i]`; None lets the random streams go on.
            options: `reset_mask` (N,) bool limits the reset to some worlds.
        """
        ...

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """One control step with (N, Da): observations, rewards, terminated, truncated, info."""
        ...

    def step_chunk(self, actions: NDArray[Any]) -> ChunkOutcome:
        """Up to T control steps with (N, T, Da), observed once at the end."""
        ...

    def stages(self, obs: Observation) -> dict[str, NDArray[np.bool_]]:
        """What is to happen on the way to success, in order, and whether it holds in each world (N,): by name."""
        ...

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        ...
