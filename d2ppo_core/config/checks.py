"""Checks of configuration values; each raises ConfigError with what was wanted and what was got."""

from d2ppo_core.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with `message` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError unless `value` is among `allowed`."""
    require(value in allowed, f"{name}: wanted one of {', '.join(allowed)}, got {value!r}")
