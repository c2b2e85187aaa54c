"""What has to be known to make a policy again: data, code, versions."""

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from d2ppo_core.data.episodes import EpisodeReader
from d2ppo_core.data.windows import Windows, file_sha256
from d2ppo_core.objects import OBJECT_PARTS_KEY, recipe_from

_DECISIVE = (
    "config", "data", "envs", "export", "finetune", "geometry.py", "losses", "models", "pretrain", "runs.py",
)  # fmt: skip
"""Parts of the package that determine weights and graph."""


def git_commit(parts: Sequence[str] = _DECISIVE) -> str:
    """Commit of the source tree; `+changes` when one of these parts differs from it; `unknown` outside of git.

    Parts are relative to the package; without any it is what determines a policy.
    """
    here = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", *arguments]  # a run that is killed leaves no lock in the user's clone
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", "."):  # a wheel, installed somewhere inside another repository
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *parts)
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_dataset(path: Path, windows: Windows) -> dict[str, Any]:
    """Name, hash and size of the training data; where it carries one, the recipe of its observation `object`."""
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "num_windows": len(windows),
        "num_episodes": windows.num_episodes,
        **_recipe(path),
    }


def _recipe(path: Path) -> dict[str, Any]:
    with EpisodeReader(path) as reader:
        held = reader.env_args.get(OBJECT_PARTS_KEY)
    return {OBJECT_PARTS_KEY: held} if recipe_from(held) else {}


def describe_code() -> dict[str, Any]:
    """Commit and versions of what determines the weights."""
    return {
        "commit": git_commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }
