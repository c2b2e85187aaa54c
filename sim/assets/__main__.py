"""`python -m sim.assets lift|training|deployed`: makes the committed worlds anew."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from d2ppo_core.errors import D2ppoError
from sim.assets.build import build_lift
from sim.assets.deployed import build_all_deployed
from sim.assets.training import build_all_training


def main(arguments: list[str]) -> int:
    """Build what is named on the command line into its committed place."""
    root = Path(__file__).parent
    builders: dict[str, Callable[[], list[Path]]] = {
        "lift": lambda: [build_lift(root / "lift")],
        "training": lambda: build_all_training(root),
        "deployed": lambda: build_all_deployed(root),
    }
    if len(arguments) != 1 or arguments[0] not in builders:
        print(f"usage: python -m sim.assets {'|'.join(builders)}", file=sys.stderr)
        return 2
    try:
        paths = builders[arguments[0]]()
    except D2ppoError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        size = sum(file.stat().st_size for file in path.parent.iterdir())
        print(f"{path}: {len(list(path.parent.iterdir()))} files, {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
