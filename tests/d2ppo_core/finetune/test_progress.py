import math
from collections.abc import Callable
from pathlib import Path

import pytest

from d2ppo_core.finetune import progress
from d2ppo_core.finetune.progress import ACTING, LEARNING, IterationBar

from .tiny_runs import make_trainer


def test_an_iteration_tells_how_far_it_is(origin: Path) -> None:
    seen: list[tuple[str, float]] = []

    def stage(name: str) -> Callable[[float], None]:
        return lambda share: seen.append((name, share))

    make_trainer(origin).iterate(stage)
    acting = [share for name, share in seen if name == ACTING]
    learning = [share for name, share in seen if name == LEARNING]
    assert acting == sorted(acting) and acting[-1] == 1.0 and len(acting) > 2
    assert learning == sorted(learning) and learning[0] == 0.0 and 0.5 <= learning[-1] < 1.0


def test_the_bar_moves_within_an_iteration_and_says_what_is_not_known_yet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_REFRESH_S", 0.0)
    with IterationBar(3, 0, shown=True) as bar:
        bar.stage(ACTING)(0.42)
        bar.finish({"rollout/success": math.nan, "speed/env_steps_per_s": 10.0}, None)
        bar.finish({"rollout/success": 0.25, "speed/env_steps_per_s": 10.0}, 0.5)
    said = capsys.readouterr().err
    assert "acting 42%" in said and "success=no episode ended yet, best=not evaluated yet" in said
    assert "success=0.25, best=0.50" in said and "nan" not in said
