"""Declared latencies are what was declared; recorded ones are drawn by seed, pair by pair."""

import json
from pathlib import Path

import pytest

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.inference.latency import Latency, latencies

MS = 1_000_000
RECORD = {"episodes": [{"timings": [{"received_ms": r, "published_ms": p} for r, p in ((10, 20), (30, 50), (12, 90))]}]}


def test_a_declared_latency_is_that_of_every_frame() -> None:
    declared = latencies(15.0, 10.0, "", 3)
    assert declared.least_ns == 25 * MS
    assert {declared.draw() for _ in range(5)} == {Latency(received_ns=15 * MS, published_ns=25 * MS)}


def test_recorded_latencies_are_drawn_together_and_a_seed_draws_the_same_again(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(RECORD))
    drawn = latencies(15.0, 10.0, str(path), 7)
    first = [drawn.draw() for _ in range(50)]
    pairs = {(latency.received_ns // MS, latency.published_ns // MS) for latency in first}
    assert pairs == {(10, 20), (30, 50), (12, 90)} and drawn.least_ns == 20 * MS
    drawn.restart(7)
    assert [drawn.draw() for _ in range(50)] == first
    drawn.restart(8)
    assert [drawn.draw() for _ in range(50)] != first


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file"),
        ("not json", "is no evaluation.json"),
        ('{"episodes": [{"timings": [{"received_ms": null}]}]}', "is no evaluation.json"),
        ('{"episodes": []}', "holds no chunk's times"),
    ],
)
def test_a_ledger_that_is_none_is_named(tmp_path: Path, content: str | None, line: str) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=line):
        latencies(15.0, 10.0, str(path), 0)
