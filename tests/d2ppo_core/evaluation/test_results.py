"""Rows and comparisons of results."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from d2ppo_core.envs.episodes import Episodes
from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.results import HEADER, Comparison, Result, write_record
from d2ppo_core.evaluation.samplers import Variant


def result(where: str, success: list[int], steps: list[int], first_seed: int = 0) -> Result:
    return Result(
        task="lift",
        where=where,
        variant=Variant(weights="ema", sampling="stochastic", num_denoising_steps=20),
        episodes=Episodes(
            seeds=tuple(range(first_seed, first_seed + len(steps))),
            success=np.array(success, bool),
            steps=np.array(steps, np.int32),
        ),
        wall_s=1.25,
    )


FIRST = result("batched", [1, 1, 0, 1], [60, 70, 300, 81])
SECOND = result("robosuite", [1, 0, 0, 1], [60, 300, 300, 80])


def test_a_row_says_everything_under_its_heading() -> None:
    line = FIRST.line()
    assert line.split() == "lift batched ema stochastic 20 3/4 75.0 % 30.1 … 95.4 % 70 1.2".split()
    assert len(line) == len(HEADER)
    assert HEADER.index("seconds") + len("seconds") == len(line)


def test_steps_count_where_the_task_was_solved() -> None:
    assert FIRST.median_steps == 70
    never = result("batched", [0, 0], [300, 300])
    assert np.isnan(never.median_steps) and " – " in never.line()
    assert never.to_json()["median_steps_to_success"] is None


def test_stages_are_counted_in_words_and_listed_in_the_record() -> None:
    seen = {"lid_off": np.array([True, True]), "hammer_held": np.array([False, True])}
    episodes = Episodes(seeds=(0, 1), success=np.zeros(2, bool), steps=np.full(2, 800, np.int32), stages=seen)
    row = replace(FIRST, episodes=episodes)
    assert row.stages_line() == "lid off 2, hammer held 1" and FIRST.stages_line() == ""
    assert row.to_json()["stages"] == {"lid_off": [True, True], "hammer_held": [False, True]}


def test_the_same_episodes_are_compared_one_by_one() -> None:
    comparison = Comparison(first=FIRST, second=SECOND)
    assert (comparison.only_first, comparison.only_second, comparison.equal_steps) == (1, 0, 2)
    assert comparison.p_value == comparison.p_value_paired == 1.0
    assert "batched 3, robosuite 2 of 4, p = 1 (Fisher)" in comparison.line()
    assert "1 solved in batched only, 0 in robosuite only, p = 1 (McNemar), 2 equal to the step" in comparison.line()


def test_rates_that_differ_are_told() -> None:
    comparison = Comparison(
        first=result("batched", [1] * 50, [60] * 50), second=result("robosuite", [0] * 50, [9] * 50)
    )
    assert comparison.p_value < 1e-20 and comparison.p_value_paired < 1e-12


def test_other_seeds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="the same seeds"):
        Comparison(first=FIRST, second=result("robosuite", [1, 0, 0, 1], [60, 300, 300, 80], first_seed=1))


def test_the_record_is_json_with_every_episode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    write_record(path, {"rows": [FIRST.to_json()], "pairs": [Comparison(first=FIRST, second=SECOND).to_json()]})
    read = json.loads(path.read_text())
    assert read["rows"][0]["success"] == [True, True, False, True] and read["rows"][0]["seeds"] == [0, 1, 2, 3]
    assert read["pairs"][0]["solved_in_one_only"] == [1, 0]
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"record.json: cannot be written: Not a directory|File exists"):
        write_record(tmp_path / "file" / "record.json", {})
