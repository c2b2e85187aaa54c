"""Strict reading and writing of configurations: unknown keys and wrong types are errors that name the key."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml

from d2ppo_core.config.finetune import FinetuneConfig
from d2ppo_core.config.history import as_it_was, gone
from d2ppo_core.config.schema import PretrainConfig
from d2ppo_core.errors import ConfigError
from d2ppo_core.yaml_file import read_yaml

T = TypeVar("T")
_BUILT_IN = Path(__file__).parent
FINETUNE_SECTIONS = ("finetune", "published")
"""Of a configuration file, for the second stage: recommended, and close to the paper."""


def _convert(wanted: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(wanted)
    if dataclasses.is_dataclass(wanted):
        return from_mapping(typing.cast(type[Any], wanted), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: wanted a list, got {value!r}")
        item = typing.get_args(wanted)[0]
        return tuple(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        raise ConfigError(f"{where}: union types are not supported")
    if wanted is float and isinstance(value, str):
        try:  # YAML 1.1 reads 1e-3 (no dot) as text
            value = float(value)
        except ValueError:
            pass
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: wanted {wanted.__name__}, got {value!r}")
    return value


def from_mapping(cls: type[T], mapping: Any, where: str = "") -> T:
    """Build the dataclass `cls` from nested mappings; raise ConfigError on unknown keys or wrong types."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where or 'configuration'}: wanted a mapping, got {mapping!r}")
    hints = typing.get_type_hints(cls)
    fields = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    unknown = [str(key) for key in mapping if key not in fields]
    if unknown:
        raise ConfigError(f"{where or 'configuration'}: unknown key {', '.join(unknown)}; allowed: {', '.join(fields)}")
    prefix = f"{where}." if where else ""
    values = {key: _convert(hints[key], value, prefix + key) for key, value in mapping.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or 'configuration'}: {error}") from error


def to_mapping(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain dicts and lists, ready for YAML and checkpoints."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return {key: plain(value) for key, value in dataclasses.asdict(config).items()}


def differences(before: Any, now: Any, limit: int = 3) -> str:
    """The first values in which two configurations differ, by their dotted names; empty when they are equal."""

    def flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for key, value in mapping.items():
            parts |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return parts

    old, new = flat(to_mapping(before)), flat(to_mapping(now))
    return "; ".join([f"{key} {old[key]!r}, now {new[key]!r}" for key in old if old[key] != new[key]][:limit])


def _apply_override(mapping: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r}: wanted key=value, for example optim.lr=1e-4")
    *parents, leaf = key.split(".")
    for parent in parents:
        child = mapping.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent} is not a section")
        mapping = child
    try:
        mapping[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: {text!r} is not a YAML value") from None


def _check_stage(override: str) -> None:
    """Raise ConfigError, with the right spelling, where an override of the first stage is one of the second."""
    first, second = ({f.name for f in dataclasses.fields(stage)} for stage in (PretrainConfig, FinetuneConfig))
    key = override.partition("=")[0].partition(".")[0]
    if key in FINETUNE_SECTIONS:
        raise ConfigError(f"override {override!r} is of the second stage: give it to d2ppo finetune")
    if key in second - first:
        raise ConfigError(
            f"override {override!r} is of the second stage, finetune.{override}: give it to d2ppo finetune, or with "
            "that spelling to d2ppo experiment"
        )


def built_in_names() -> tuple[str, ...]:
    """Names of the configurations shipped with the package."""
    return tuple(sorted(path.stem for path in _BUILT_IN.glob("*.yaml")))


def _read(name_or_path: str | Path) -> dict[str, Any]:
    path = Path(name_or_path)
    if str(name_or_path) in built_in_names():
        path = _BUILT_IN / f"{name_or_path}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{name_or_path}: no such configuration; wanted a YAML file or one of {', '.join(built_in_names())}"
        )
    mapping = read_yaml(path)
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path}: wanted a mapping, got {mapping!r}")
    return mapping


def _named(name_or_path: str | Path, build: Callable[[], T]) -> T:
    """Build a configuration; an error names the file that it comes from."""
    try:
        return build()
    except ConfigError as error:
        raise ConfigError(f"{name_or_path}: {error}") from None


def load_kept_config(path: Path, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read the `config.yaml` that a pre-training of any version left in its folder; else as `load_config`.

    Raises ConfigError, too, where it was trained in a way that is no more.
    """
    kept = _read(path)
    if found := gone(kept):
        raise ConfigError(f"{path}: {cannot_go_on(found)}")
    return _first_stage(path, as_it_was(PretrainConfig, kept), overrides)


def cannot_go_on(found: Sequence[str]) -> str:
    """Why a run that was trained by settings which are gone, and `found` in it, is not resumed."""
    return (
        f"this run was trained with {', '.join(found)}, which is no more: it can be measured, exported and fine-tuned, "
        "but not gone on with; train anew in another --out folder"
    )


def load_kept_finetune_config(path: Path, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Read the `config.yaml` that a fine-tuning of any version left in its folder; else as `load_finetune_config`."""
    whole = _read(path)
    whole["finetune"] = as_it_was(FinetuneConfig, _section(path, whole, "finetune"))
    return _second_stage(path, whole, overrides, "finetune")


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read the first stage of a shipped configuration (by name) or a YAML file (by path).

    `key.sub=value` overrides are applied on top; the sections `finetune` and `published` belong to the second stage.
    Raises ConfigError when the file is missing or no YAML, a key is unknown or a value not allowed.
    """
    return _first_stage(name_or_path, _read(name_or_path), overrides)


def _first_stage(name_or_path: str | Path, mapping: dict[str, Any], overrides: Sequence[str]) -> PretrainConfig:
    for section in FINETUNE_SECTIONS:
        mapping.pop(section, None)
    for override in overrides:
        _check_stage(override)
        _apply_override(mapping, override)
    return _named(name_or_path, lambda: from_mapping(PretrainConfig, mapping))


def load_finetune_config(
    name_or_path: str | Path, overrides: Sequence[str] = (), *, section: str = "finetune"
) -> FinetuneConfig:
    """Read the second stage from a section of the file, with the file's `name` and `task`; else as `load_config`.

    The section `finetune` is the recommended recipe, `published` is close to the paper's settings.
    """
    return _second_stage(name_or_path, _read(name_or_path), overrides, section)


def _section(name_or_path: str | Path, whole: dict[str, Any], section: str) -> dict[str, Any]:
    settings = whole.get(section) or {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{name_or_path}: {section}: wanted a mapping, got {settings!r}")
    return settings


def _second_stage(
    name_or_path: str | Path, whole: dict[str, Any], overrides: Sequence[str], section: str
) -> FinetuneConfig:
    settings = _section(name_or_path, whole, section)
    mapping: dict[str, Any] = {key: value for key, value in whole.items() if key in ("name", "task")} | settings
    for override in overrides:  # by their place in the file, finetune.iterations=5, or from the section on
        stage, _, key = override.partition(".")
        _apply_override(mapping, key if stage in FINETUNE_SECTIONS else override)
    return _named(name_or_path, lambda: from_mapping(FinetuneConfig, mapping, section))


def save_config(config: PretrainConfig | FinetuneConfig, path: Path) -> None:
    """Write the complete, resolved configuration; read back it is equal."""
    mapping = to_mapping(config)
    if isinstance(config, FinetuneConfig):
        shared = {key: mapping.pop(key) for key in ("name", "task")}
        mapping = {**shared, "finetune": mapping}
    path.write_text(yaml.safe_dump(mapping, sort_keys=False), encoding="utf-8")


def config_hash(config: PretrainConfig | FinetuneConfig) -> str:
    """SHA-256 over the complete, resolved configuration."""
    return sha256(yaml.safe_dump(to_mapping(config)).encode()).hexdigest()
