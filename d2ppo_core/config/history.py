"""What configurations of older versions mean today: runs keep them, in checkpoints and beside them, complete.

A setting that is newer than a run has in it the value that the older code worked by, whatever new runs begin with.
"""

import copy
from collections.abc import Mapping
from typing import Any

from d2ppo_core.config.finetune import FinetuneConfig
from d2ppo_core.config.schema import LEADING, PretrainConfig

_WAS = {PretrainConfig: {("model", "sampler_times"): LEADING}, FinetuneConfig: {("chain", "sampler_times"): LEADING}}
"""Section and key -> what there was before the key."""


def as_it_was(stage: type[Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of any version kept of its configuration (of the dataclass `stage`), as this version has it."""
    mapping = copy.deepcopy(dict(kept))
    for (section, key), value in _WAS[stage].items():
        if isinstance(values := mapping.setdefault(section, {}), dict):  # else its reader says what is wrong
            values.setdefault(key, value)
    return mapping
