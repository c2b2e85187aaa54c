"""Arms at their best learning rate: how it is chosen, and that the choice does not flatter."""

from math import isnan, sqrt

import pytest

from d2ppo_core.experiments.arms import arms_markdown, best_cells, read_arms, t_interval
from d2ppo_core.experiments.comparison import Row
from d2ppo_core.experiments.dispersive import arm
from d2ppo_core.experiments.plan import Plan

PLAN = Plan(
    name="both",
    question="?",
    cells=(*arm("none", "", (), ("0.1", "0.3")), *arm("term", "none", (), ("0.1", "0.3"))),
    reference="none_lr0.1",
    tasks=("lift",),
    measures="success",
    seeds=(0, 1, 2),
    selection_seeds=(100, 101),
)


def row(cell: str, **successes: int) -> Row:
    """Solved of 100 by seed, `s100=60`."""
    records = {
        int(seed[1:]): {
            "evaluation": {"successes": solved, "seeds": list(range(100)), "wall_s": 1.0},
            "commit": "c0ffee",
            "dataset": {"sha256": "ab", "num_episodes": 50},
            "validation": {"sensitivity": 0.9, "time_share": 0.25},
            **{"steps": 9, "pretrain_s": 10.0, "finetune_s": 0.0, "env_steps": 0},
        }
        for seed, solved in successes.items()
    }
    return Row("lift", cell, (0, 1, 2, 100, 101), records)


def test_the_rate_is_chosen_by_other_seeds_than_the_arm_is_shown_by():
    rows = [
        row("none_lr0.1", s100=70, s101=72, s0=50, s1=52, s2=54),
        row("none_lr0.3", s100=60, s101=61, s0=99, s1=99, s2=99),  # lucky on the seeds that count
        row("term_lr0.1", s100=10),
        row("term_lr0.3", s100=80, s0=60, s1=62, s2=64),
    ]
    none, term = read_arms(PLAN, rows)
    assert (none.chosen.cell, none.picked_apart, none.chosen.rates) == ("none_lr0.1", True, (0.50, 0.52, 0.54))
    assert (term.chosen.cell, term.against) == ("term_lr0.3", "none")
    assert best_cells(PLAN, rows, "lift") == ("none_lr0.1", "term_lr0.3") and best_cells(PLAN, rows, "can") == ()
    page = "\n".join(arms_markdown(PLAN, rows))
    # sd 2 of three seeds: 4.303 * 2 / sqrt(3) = 4.97; Welch: 2.776 * sqrt(2 * 4 / 3) = 4.53
    assert (
        "| lift | term | term_lr0.3 | 3 | 62.0 % (57.0 … 67.0) | none | +10.0 (+5.5 … +14.5) | 0.9 |  | 0.25 |" in page
    )
    assert "*" not in page.replace("\\*", "").split("\n")[4] and "chosen by training seeds 100, 101" in page


def test_an_arm_that_is_shown_by_the_seeds_it_was_chosen_by_has_a_star():
    (found,) = read_arms(PLAN, [row("none_lr0.1", s0=50), row("none_lr0.3", s0=60)])
    assert (found.chosen.cell, found.picked_apart) == ("none_lr0.3", False)
    assert "| lift | none* | none_lr0.3 | 1 | 60.0 % |" in "\n".join(arms_markdown(PLAN, [row("none_lr0.3", s0=60)]))


def test_an_arm_that_was_only_chosen_is_not_confirmed_yet():
    page = "\n".join(arms_markdown(PLAN, [row("none_lr0.1", s100=50)]))
    assert "| lift | none | none_lr0.1 | 0 | not confirmed yet |" in page
    assert arms_markdown(PLAN, [row("none_lr0.1")]) == []


def test_the_interval_of_a_mean_is_students():
    low, high = t_interval([0.4, 0.5, 0.6])
    assert (low, high) == pytest.approx((0.5 - 4.3027 * 0.1 / sqrt(3), 0.5 + 4.3027 * 0.1 / sqrt(3)), abs=1e-4)
    assert all(isnan(bound) for bound in t_interval([0.4]))
