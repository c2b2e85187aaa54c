"""Tables and pictures; the figures are worked out by hand."""

import csv
import io
from math import isnan
from pathlib import Path

import pytest

from d2ppo_core.errors import DataError
from d2ppo_core.experiments.catalogue import find_plan
from d2ppo_core.experiments.comparison import Row, difference, read_rows
from d2ppo_core.experiments.execute import execute
from d2ppo_core.experiments.records import load_curve, load_record
from d2ppo_core.experiments.report import write_results
from d2ppo_core.experiments.settings import Settings
from d2ppo_core.experiments.table import markdown, missing_commands, table_csv

from .stub_stages import StubStages

PLAN = find_plan("dispersive_vs_none")


def row(cell: str, *successes: int, episodes: int = 100, seeds: tuple[int, ...] = (0, 1, 2)) -> Row:
    records = {
        seed: {
            "evaluation": {"successes": solved, "seeds": list(range(episodes)), "wall_s": 2.0},
            "commit": "c0ffee0123456789+changes",
            "dataset": {"sha256": "abcdef0123456789"},
            "steps": 1500,
            "pretrain_s": 10.0 + seed,
            "finetune_s": 0.0,
            "env_steps": 0,
        }
        for seed, solved in zip(seeds, successes, strict=False)
    }
    return Row("lift", cell, seeds, records)


def settings(out: Path | str = "runs/experiments/dispersive_vs_none", **values: object) -> Settings:
    return Settings(experiment="dispersive_vs_none", out=str(out), **values)  # type: ignore[arg-type]


def test_seeds_are_pooled_and_their_spread_is_told():
    found = row("none", 50, 60, 70)
    assert (found.successes, found.episodes) == (180, 300)
    assert found.mean == pytest.approx(0.6) and found.deviation == pytest.approx(0.1)
    # z = 1.96, p = 0.6, n = 300: centre (0.6 + 0.0064) / 1.0128, half 0.0553
    assert found.interval == pytest.approx((0.5437, 0.6538), abs=1e-4)
    assert found.cost("pretrain_s") == pytest.approx(11.0)


def test_a_difference_has_newcombes_interval_and_fishers_p():
    # Newcombe (1998), method 10: 56/70 and 48/80 give 0.2 (0.0524 ... 0.3339)
    found = difference(row("dispersive", 56, episodes=70, seeds=(0,)), row("none", 48, episodes=80, seeds=(0,)))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert 0.005 < found.p_value < 0.02


def test_the_interval_over_seeds_is_welchs():
    # both: variance 0.01, n = 3; standard error sqrt(0.02 / 3) = 0.0816, 4 degrees of freedom: t = 2.776
    found = difference(row("dispersive", 60, 70, 80), row("none", 50, 60, 70))
    assert (found.seeds_low, found.seeds_high) == pytest.approx((0.1 - 0.2267, 0.1 + 0.2267), abs=1e-4)
    single = difference(row("dispersive", 60, seeds=(0,)), row("none", 50, seeds=(0,)))
    equal = difference(row("dispersive", 60, 60, 60), row("none", 50, 50, 50))
    assert isnan(single.seeds_low) and isnan(equal.seeds_high)


def test_only_seeds_that_both_have_are_compared():
    assert difference(row("dispersive", 90), row("none", 50, 0, 0)).value == pytest.approx(0.4)
    with pytest.raises(ValueError, match="a seed that both rows have"):
        difference(row("dispersive"), row("none", 50))


def test_the_page_holds_the_figures_and_where_they_come_from():
    page = markdown(PLAN, settings(), [row("none", 50, 60, 70), row("dispersive", 60, 70, 80)])
    assert (
        "| lift | none | 3 | 180/300 | 60.0 % (54.4 … 65.4) | 60.0 ± 10.0 % (50.0 … 70.0) | reference |  |  "
        "|  |  |  |  |  |  |  | 1500 | 11 | 0 | c0ffee01+changes | abcdef01 |"
    ) in page
    # 0.1 - sqrt((0.7 - 0.6459)² + (0.6538 - 0.6)²) and 0.1 + sqrt((0.7491 - 0.7)² + (0.6 - 0.5436)²)
    assert "| 210/300 | 70.0 % (64.6 … 74.9) | 70.0 ± 10.0 % (60.0 … 80.0) | +10.0 (+2.4 … +17.5) |" in page
    assert "Command: `d2ppo experiment dispersive_vs_none --tasks lift --seeds 0 1 2`" in page
    assert "Everything together: 66 s of training, 12 s of measuring." in page
    assert "not run" not in page.lower()


def test_what_was_not_run_stands_in_the_table_with_its_command():
    kept = settings(data="d/{task}.hdf5", overrides=("optim.steps=9",))
    rows = [row("none", 5, 6), row("dispersive")]
    page = markdown(PLAN, kept, rows)
    tail = "--data 'd/{task}.hdf5' --set optim.steps=9"
    assert "| lift | none | 2 of 3 | 11/200 |" in page and "| lift | dispersive | 0 of 3 | not run |" in page
    assert f"- lift: `d2ppo experiment dispersive_vs_none --tasks lift --cells none --seeds 2 {tail}`" in page
    assert missing_commands(kept, rows)[1][1].endswith(f"--cells dispersive --seeds 0 1 2 {tail}")
    lines = list(csv.DictReader(io.StringIO(table_csv(PLAN, kept, rows))))
    assert [line["status"] for line in lines] == ["partly run", "not run"]
    assert lines[1]["success"] == "" and "--cells dispersive" in lines[1]["command"]


def test_the_csv_holds_the_difference_without_rounding():
    text = table_csv(PLAN, settings(), [row("none", 50, 60, 70), row("dispersive", 60, 70, 80)])
    first, second = csv.DictReader(io.StringIO(text))
    assert first["difference"] == "" and float(second["difference"]) == pytest.approx(0.1)
    assert float(second["seed_sd"]) == pytest.approx(0.1) and second["seeds"] == "0 1 2"


def test_results_are_made_from_run_folders_alone(tmp_path):
    kept = settings(tmp_path, episodes=4)
    execute(PLAN.runs(["can"], [0, 1]), kept, StubStages({"none": 1, "dispersive": 3}))
    page = write_results(PLAN, kept, [0, 1]).read_text()
    assert "| can | none | 2 | 2/8 | 25.0 %" in page and "| can | dispersive | 2 | 6/8 | 75.0 %" in page
    assert page.count("| not run |") == 3 * 2
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "results.csv").is_file()
    again = write_results(PLAN, kept, [0, 1]).read_text()
    assert again == page


def test_runs_measured_in_another_number_of_episodes_are_not_mixed_in(tmp_path):
    execute(PLAN.runs(["lift"], [0]), settings(tmp_path, episodes=4), StubStages())
    assert all(not found.records for found in read_rows(PLAN, settings(tmp_path, episodes=6), ["lift"], [0]))


def test_fine_tuning_is_drawn_against_control_steps(tmp_path):
    plan = find_plan("sample_efficiency")
    kept = Settings(experiment=plan.name, out=str(tmp_path), episodes=4)
    runs = plan.runs(["lift"], [0], ["plain", "drwr"])
    execute(runs, kept, StubStages())
    steps, success = load_curve(runs[1].folder(tmp_path) / "tuned")
    assert steps.tolist() == [0, 2000, 4000] and success.tolist() == [0.25, 0.5, 0.75]
    write_results(plan, kept, [0])
    assert (tmp_path / "results.png").stat().st_size > 5000


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match="evaluation.json: not readable as JSON"):
        load_record(tmp_path)
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(DataError, match="without task, cell"):
        load_record(tmp_path)


def test_rows_cover_all_cells_of_all_tasks(tmp_path):
    rows = read_rows(PLAN, settings(tmp_path), PLAN.tasks, [0])
    assert len(rows) == 8 and all(found.missing == (0,) for found in rows)
