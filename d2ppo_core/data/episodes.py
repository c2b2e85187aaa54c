"""Demonstrations on disk, in robomimic's HDF5 layout.

One file holds a group `data` (attributes `total`, `env_args`) with one group per demonstration, `demo_0`, `demo_1`, …
(attributes `num_samples`, `model_file`), each of which holds `actions`, `states`, `rewards`, `dones`, `obs/<key>` and
`next_obs/<key>`; and perhaps a group `mask` of named subsets. `actions` are what the controller was given, so that
playing them back repeats the episode. What this package adds, robomimic ignores: `expert_actions`, what a disturbed
demonstrator meant to do, and the attributes `seed` and `attempt` of a demonstration and `recording` of the file, by
which a file is known to be ours.
"""

from d2ppo_core.data.episode import Episode, Observations
from d2ppo_core.data.reader import EpisodeReader
from d2ppo_core.data.writer import EpisodeWriter

__all__ = ["Episode", "EpisodeReader", "EpisodeWriter", "Observations"]
