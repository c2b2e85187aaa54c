import math

import pytest

from d2ppo_core.config import LossConfig
from d2ppo_core.pretrain.dispersal import OFF, Dispersal


def test_a_fixed_weight_stays() -> None:
    dispersal = Dispersal(LossConfig(dispersive_weight=0.3, dispersive_tap="late"))
    assert (dispersal.tap, dispersal.weight, dispersal.balancing) == ("late", 0.3, False)


@pytest.mark.parametrize("loss", [LossConfig(dispersive="none"), LossConfig(dispersive_weight=0.0)])
def test_a_term_that_takes_no_part_has_neither_tap_nor_weight(loss: LossConfig) -> None:
    dispersal = Dispersal(loss)
    assert (dispersal.tap, dispersal.weight) == (OFF, 0.0)


def balanced(**values: float) -> Dispersal:
    return Dispersal(LossConfig(weight_mode="balanced", dispersive_weight=0.5, **values))  # type: ignore[arg-type]


def test_the_balanced_weight_makes_the_term_pull_the_chosen_share() -> None:
    dispersal = balanced(balance=0.2)
    assert dispersal.balancing and dispersal.weight == 0.5
    dispersal.observe(9.0, 4.0)
    assert dispersal.weight == pytest.approx(0.2 * 3.0 / 2.0)


def test_the_balanced_weight_follows_slowly() -> None:
    dispersal = balanced(balance=1.0, balance_decay=0.9)
    dispersal.observe(1.0, 1.0)
    dispersal.observe(4.0, 1.0)
    assert dispersal.weight == pytest.approx(math.sqrt(0.9 + 0.4))


def test_the_balanced_weight_is_limited_where_the_term_has_no_gradient() -> None:
    dispersal = balanced(weight_limit=7.0)
    dispersal.observe(1.0, 0.0)
    assert dispersal.weight == 7.0
    dispersal.observe(1.0, 1e-12)
    assert dispersal.weight == 7.0


def test_the_tap_of_lowest_relative_rank_is_chosen_once_after_the_warm_up() -> None:
    dispersal = Dispersal(LossConfig(dispersive_tap="auto", auto_tap_steps=10))
    assert (dispersal.tap, dispersal.weight) == (OFF, 0.0)
    assert [dispersal.choice_is_due(step) for step in (9, 10, 11)] == [False, True, True]
    dispersal.choose({"early": 0.5, "mid": 0.2, "late": 0.2})
    assert (dispersal.tap, dispersal.weight) == ("mid", 0.5) and not dispersal.choice_is_due(12)


def test_the_state_survives_a_round_trip() -> None:
    loss = LossConfig(dispersive_tap="auto", weight_mode="balanced")
    one, other = Dispersal(loss), Dispersal(loss)
    one.choose({"early": 0.5, "late": 0.4})
    one.observe(3.0, 2.0)
    other.load_state_dict(one.state_dict())
    assert (other.tap, other.ranks, other.weight) == (one.tap, one.ranks, one.weight)
    for dispersal in (one, other):
        dispersal.observe(1.0, 5.0)
    assert other.weight == one.weight
