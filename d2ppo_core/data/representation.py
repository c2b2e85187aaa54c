"""What of an episode becomes the policy's action: the file's deltas, or the goals that they lead to.

A file keeps what robosuite's controller was given, deltas. The goal of each step is the observed pose of the hand
when the delta was given, moved by the scaled delta: what the controller aimed at. Nothing is rewritten on disk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import goals_from_deltas
from d2ppo_core.config import DataConfig
from d2ppo_core.data.episodes import Episode
from d2ppo_core.errors import DataError
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA, SIZES


def keys_of(config: DataConfig) -> list[str]:
    """Observations to read from a file: those of the policy, and those that its actions are made of."""
    keys = [*config.low_dim_keys, *config.image_keys]
    if config.action_representation == EE_ABSOLUTE:
        keys += [key for arm in range(len(config.base_yaw_rad)) for key in _pose_keys(arm) if key not in keys]
    return keys


def actions_of(episode: Episode, config: DataConfig) -> NDArray[np.float64]:
    """(T, Da) what a policy should learn, of the configured target in the configured representation.

    Raises:
        DataError: the poses that goals are made of are missing, or the file is of another number of arms than the
            configuration has yaws.
    """
    actions = episode.labels if config.action_target == "expert" else episode.actions
    if config.action_representation == OSC_DELTA:
        return actions
    arms = len(config.base_yaw_rad)
    if actions.shape[1] != arms * SIZES[OSC_DELTA]:
        raise DataError(
            f"data.base_yaw_rad: wanted one per arm for actions of {actions.shape[1]} numbers, got {arms} of them"
        )
    wanted = [key for arm in range(arms) for key in _pose_keys(arm)]
    if missing := [key for key in wanted if key not in episode.observations]:
        raise DataError(f"{EE_ABSOLUTE} actions are made of {', '.join(missing)}, which the episode lacks")
    positions = np.stack([episode.observations[_pose_keys(arm)[0]] for arm in range(arms)], axis=1)
    quats = np.stack([episode.observations[_pose_keys(arm)[1]] for arm in range(arms)], axis=1)
    rotations = Rotation.from_quat(quats.reshape(-1, 4)).as_matrix().reshape(len(episode), arms, 3, 3)
    bases = Rotation.from_euler("z", np.array(config.base_yaw_rad)[:, None]).as_matrix()
    return goals_from_deltas(actions, positions, rotations, bases)


def _pose_keys(arm: int) -> tuple[str, str]:
    return f"robot{arm}_eef_pos", f"robot{arm}_eef_quat"
