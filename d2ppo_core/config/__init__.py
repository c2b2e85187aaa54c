"""Run configurations: frozen dataclasses, strict YAML and dotted overrides."""

from d2ppo_core.config.finetune import FinetuneConfig
from d2ppo_core.config.history import as_it_was, gone
from d2ppo_core.config.load import (
    config_hash,
    differences,
    from_mapping,
    load_config,
    load_finetune_config,
    load_kept_config,
    load_kept_finetune_config,
    save_config,
    to_mapping,
)
from d2ppo_core.config.schema import (
    DataConfig,
    DeployConfig,
    GaussianConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
)
from d2ppo_core.config.started import Started, read_started

__all__ = [
    "DataConfig",
    "DeployConfig",
    "FinetuneConfig",
    "GaussianConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "PretrainConfig",
    "Started",
    "as_it_was",
    "config_hash",
    "differences",
    "from_mapping",
    "gone",
    "load_config",
    "load_finetune_config",
    "load_kept_config",
    "load_kept_finetune_config",
    "read_started",
    "save_config",
    "to_mapping",
]
