"""Pre-trained policies for the tiny task."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .tiny_runs import make_origin


@pytest.fixture(scope="session")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """Folder of a pre-training, by whether it reads images; each is trained once."""
    made: dict[bool, Path] = {}

    def origin(images: bool) -> Path:
        if images not in made:
            made[images] = make_origin(tmp_path_factory.mktemp("images" if images else "state"), images=images)
        return made[images]

    return origin


@pytest.fixture
def origin(origins: Callable[[bool], Path]) -> Path:
    """Folder of a pre-training on states."""
    return origins(False)
