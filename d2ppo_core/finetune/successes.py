"""What the policy did in episodes that it solved, to be cloned beside the update: it is not unlearned again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ppo_core.config.algorithms import SelfCloningConfig
from d2ppo_core.finetune.ring import Column, Ring, observation_columns, observations_at
from d2ppo_core.finetune.rollout import Rollout
from d2ppo_core.models.build import Shapes
from d2ppo_core.models.chain import ChainPolicy

NOTHING_YET = "self_cloning: no episode was solved yet; the term is off until one is"


def solved_windows(rollout: Rollout) -> NDArray[np.bool_]:
    """(C, N) chunks of episodes that ended within the rollout and were solved."""
    found = np.zeros_like(rollout.solved)
    following = np.zeros(rollout.solved.shape[1], bool)
    for t in reversed(range(len(found))):
        following = np.where(rollout.ended[t], rollout.solved[t], following)
        found[t] = following
    return found


class Successes:
    """A bounded buffer of (observation, executed chunk) of solved episodes, and the cloning loss on it."""

    def __init__(self, config: SelfCloningConfig, shapes: Shapes, *, chunk_dim: int, random_shift_px: int = 0) -> None:
        """Begin empty.

        Args:
            config: Size, weight and batch.
            shapes: Of observations.
            chunk_dim: Tp * Da.
            random_shift_px: Pictures are shifted by up to this much whenever they are drawn.

        Raises:
            ConfigError: it would not fit into memory.
        """
        self.config, self.random_shift_px = config, random_shift_px
        columns = observation_columns(shapes) | {"chunk": Column((chunk_dim,))}
        self.ring = Ring(config.capacity_chunks, columns, key="self_cloning.capacity_chunks")
        self.notes: list[str] = []
        """For a person to read, once."""
        self._said = False
        self._generator = torch.Generator()

    def __len__(self) -> int:
        """Windows held."""
        return len(self.ring)

    def take(self, rollout: Rollout, seed: int) -> None:
        """Keep the windows of solved episodes, in the order in which they were acted; `seed` decides the next draws."""
        self._generator.manual_seed(int(np.random.SeedSequence((seed, 1)).generate_state(1)[0]))
        chosen = solved_windows(rollout)
        rows = {
            "state": torch.from_numpy(rollout.state[chosen]),
            "chunk": torch.from_numpy(rollout.chain[:, :, -1][chosen].clip(-1, 1)),
        }
        if rollout.images is not None:
            rows["images"] = torch.from_numpy(rollout.images[chosen])
        newest = slice(-self.ring.capacity, None)
        self.ring.append({name: values[newest] for name, values in rows.items()})
        if not len(self) and not self._said:
            self._said = True
            self.notes.append(NOTHING_YET)

    def loss(self, chain: ChainPolicy) -> Tensor:
        """Mean error of cloning windows drawn evenly, with replacement; before any was kept it must not be asked."""
        device, held = next(chain.parameters()).device, self.ring.columns
        index = torch.randint(len(self), (self.config.batch_size,), generator=self._generator)
        state, images = observations_at(
            held, index, random_shift_px=self.random_shift_px, generator=self._generator, device=device
        )
        condition = chain.condition(state, images)
        return chain.cloning_errors(condition, held["chunk"][index].to(device), self._generator).mean()

    def state_dict(self) -> dict[str, Any]:
        """What is held, for checkpoints."""
        return self.ring.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.ring.load_state_dict(state)
