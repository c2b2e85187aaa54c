"""What configurations of older versions mean today: runs keep them, in checkpoints and beside them, complete.

A setting that is newer than a run has in it the value that the older code worked by, whatever new runs begin with.
Settings that are gone say how the run was trained; it still loads, but cannot be gone on with (`gone`).
"""

import copy
from collections.abc import Mapping
from typing import Any

from d2ppo_core.config.finetune import FinetuneConfig
from d2ppo_core.config.schema import LEADING, PUBLISHED, RAW, TAPS, PretrainConfig

_WAS = {PretrainConfig: {("model", "sampler_times"): LEADING}, FinetuneConfig: {("chain", "sampler_times"): LEADING}}
"""Section and key -> what there was before the key."""
_GONE = ("weight_mode", "balance", "balance_decay", "weight_limit", "auto_tap_steps", "official")
"""Of the section `loss`."""
_LIFTS_BASE, _TRANSPORTS_BASES = [-0.56, 0.0, 0.912], [0.0, -0.81, 0.912, 0.0, 0.81, 0.912]
"""`deploy.base_position_m` of runs from before bundles moved two arms, and of those since."""


def as_it_was(stage: type[Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of any version kept of its configuration (of the dataclass `stage`), as this version has it."""
    mapping = copy.deepcopy(dict(kept))
    for (section, key), value in _WAS[stage].items():
        if isinstance(values := mapping.setdefault(section, {}), dict):  # else its reader says what is wrong
            values.setdefault(key, value)
    deploy = mapping.get("deploy")
    if mapping.get("task") == "transport" and isinstance(deploy, dict):
        if list(deploy.get("base_position_m", _LIFTS_BASE)) == _LIFTS_BASE:
            deploy["base_position_m"] = list(_TRANSPORTS_BASES)
    loss = mapping.setdefault("loss", {}) if stage is PretrainConfig else None
    if isinstance(loss, dict) and "dispersive_form" not in loss:
        loss["dispersive_form"] = PUBLISHED if loss.get("official") else RAW
        loss["dispersive_tap"] = loss.get("dispersive_tap") if loss.get("dispersive_tap") in TAPS else "early"
        for key in _GONE:
            loss.pop(key, None)
    return mapping


def gone(kept: Mapping[str, Any]) -> tuple[str, ...]:
    """What trained a pre-training of an older version and is no more, as `key=value`; empty where nothing is."""
    loss = kept.get("loss")
    if not isinstance(loss, dict) or "dispersive_form" in loss or loss.get("dispersive") == "none":
        return ()
    balanced, tap = loss.get("weight_mode") == "balanced", loss.get("dispersive_tap", "early")
    if not balanced and loss.get("dispersive_weight") == 0:
        return ()
    found = ["loss.weight_mode=balanced"] if balanced else []
    return (*found, *([] if tap in TAPS else [f"loss.dispersive_tap={tap}"]))
