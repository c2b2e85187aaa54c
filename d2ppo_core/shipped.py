"""What is shipped beside the Python packages: stacks, cells, launch files, ROS packages, set-up tools, pages.

In a checkout it lies at the top of the repository; a wheel carries the same folders inside this package (setup.py).
"""

from __future__ import annotations

from pathlib import Path

from d2ppo_core.errors import ConfigError

_IN_A_WHEEL = Path(__file__).with_name("share")


def is_checkout() -> bool:
    """Return whether this is the source tree and not an installed wheel."""
    return not _IN_A_WHEEL.is_dir()


def shipped(place: str = "") -> Path:
    """Return where something shipped lies, e.g. ``launch/stacks``; without a place the folder that holds them all."""
    return (Path(__file__).parents[1] if is_checkout() else _IN_A_WHEEL) / place


def shipped_names(kind: str) -> dict[str, Path]:
    """Return the shipped files of a kind, ``cell`` or ``stack``, by name."""
    return {path.stem: path for path in sorted(shipped(f"launch/{kind}s").glob("*.yaml"))}


def named_file(kind: str, name_or_path: str) -> Path:
    """Return the file of a ``cell`` or ``stack``: a shipped one by its name, any other by its path.

    Raises:
        ConfigError: there is no such file; the message lists the names there are.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        if Path(name_or_path).is_file():
            return Path(name_or_path)
        raise ConfigError(f"there is no {kind} file {name_or_path}")
    known = shipped_names(kind)
    if name_or_path not in known:
        raise ConfigError(f"there is no {kind} {name_or_path!r}; known: {', '.join(known) or 'none'}")
    return known[name_or_path]
