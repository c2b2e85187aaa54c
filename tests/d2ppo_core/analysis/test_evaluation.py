"""What an evaluation says of its own repeatability."""

from dataclasses import replace

import pytest

from d2ppo_core.analysis.evaluation import Episode, Evaluation

EPISODE = Episode(
    index=0,
    seed=7,
    success=True,
    outcome="success",
    duration_s=2.0,
    wall_s=1.0,
    ticks=250,
    missed_ticks=0,
    chunks_refused=0,
    safety_interventions=0,
    real_time_factor=2.0,
    digest="a1",
)


def evaluation(*episodes: Episode, stepping: str = "deterministic") -> Evaluation:
    return Evaluation(
        task="lift", stack="sim", bundle="b", bundle_hash="h", seed=7, episodes=episodes, stepping=stepping
    )


def test_the_digest_of_an_evaluation_is_that_of_its_episodes_in_their_order() -> None:
    other = replace(EPISODE, digest="b2")
    assert evaluation(EPISODE, other).digest == evaluation(EPISODE, other).digest != evaluation(other, EPISODE).digest
    assert evaluation(EPISODE, other).to_json()["digest"] == evaluation(EPISODE, other).digest


@pytest.mark.parametrize("episodes", [(), (EPISODE, replace(EPISODE, digest=""))])
def test_without_a_digest_of_every_episode_there_is_none(episodes: tuple[Episode, ...]) -> None:
    assert evaluation(*episodes).digest == ""
    assert "stepping     deterministic, digest none, waits given up 0" in evaluation(*episodes).lines()


def test_waits_that_ran_out_stand_beside_the_digest_and_real_time_has_neither() -> None:
    (line,) = [line for line in evaluation(EPISODE, replace(EPISODE, waits_given_up=3)).lines() if "stepping" in line]
    assert line.endswith("waits given up 3")
    assert not any("stepping" in line for line in evaluation(EPISODE, stepping="real_time").lines())
