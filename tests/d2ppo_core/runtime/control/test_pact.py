"""All arms of a plan follow their chunks or none does, whatever is lost, late, refused or comes in another order."""

import itertools

import numpy as np
import pytest

from d2ppo_core.runtime.control.chunk import TimedChunk
from d2ppo_core.runtime.control.pact import GRACE_NS, Pact, Plan, Verdict

MS = 1_000_000


def chunk(sequence: int = 0, epochs: tuple[int, ...] = (3, 4), source: str = "policy a") -> TimedChunk:
    return TimedChunk(
        stamp_ns=sequence * 200 * MS,
        dt_ns=50 * MS,
        sequence=sequence,
        epoch=epochs[0],
        bundle_hash="b",
        source=source,
        epochs=epochs,
        positions_m=np.zeros((2, 3)),
        quats_xyzw=np.tile([1.0, 0.0, 0.0, 0.0], (2, 1)),
        twists=np.zeros((2, 6)),
        gripper_width_m=np.zeros(2),
    )


def refusal(one: TimedChunk, reason: str = "expired") -> Verdict:
    return Verdict(plan=Plan.of(one), follows=False, at_ns=0, reason=reason)


def test_a_chunk_is_followed_once_all_others_have_said_that_they_follow_theirs():
    pact, others = Pact(["right", "third"]), chunk()
    pact.propose(chunk(), 10 * MS)
    pact.hear("right", Verdict(plan=Plan.of(others), follows=True, at_ns=12 * MS))
    assert pact.settled() == [] and pact.open
    pact.hear("third", Verdict(plan=Plan.of(others), follows=True, at_ns=11 * MS))
    (done,) = pact.settled()
    assert done.reason == "" and done.chunk.sequence == 0
    assert pact.settled() == [] and not pact.open, "settled once"


def test_one_refusal_is_enough_and_says_whose_and_why():
    pact = Pact(["right", "third"])
    pact.propose(chunk(), 0)
    pact.hear("right", refusal(chunk(), "its last target was due 9 ms ago"))
    (done,) = pact.settled()
    assert done.reason == "arm right: its last target was due 9 ms ago"


@pytest.mark.parametrize(
    "other",
    [chunk(1), chunk(epochs=(3, 5)), chunk(source="policy b")],
    ids=["sequence", "epochs", "source"],
)
def test_what_others_say_of_another_plan_counts_for_nothing(other: TimedChunk):
    pact = Pact(["right"])
    pact.propose(chunk(), 0)
    pact.hear("right", Verdict(plan=Plan.of(other), follows=True, at_ns=0))
    assert pact.settled() == [] and pact.open


def test_an_arm_that_says_nothing_is_named_after_a_while_and_nothing_is_followed():
    pact = Pact(["right"])
    pact.propose(chunk(), 0)
    assert pact.silent(GRACE_NS) == ""
    assert pact.silent(GRACE_NS + 1) == "arm right says nothing of plan 0" and pact.settled() == []
    pact.forget()
    assert not pact.open and pact.silent(10 * GRACE_NS) == ""


def test_what_never_settles_does_not_pile_up():
    pact = Pact(["right"])
    for sequence in range(100):
        pact.propose(chunk(sequence), sequence * 200 * MS)
        pact.hear("right", Verdict(plan=Plan.of(chunk(1000 + sequence)), follows=True, at_ns=0))
    assert len(pact._own) == len(pact._heard["right"]) == 16


@pytest.mark.parametrize("refused", ["nobody", "left", "right"])
@pytest.mark.parametrize("late_ms", [0, 30, 59, 61, 200])
def test_both_arms_come_to_the_same_end_in_whatever_order_they_hear_of_each_other(refused: str, late_ms: int):
    """Each arm judges its chunk at its own time; verdicts may be heard at any later moment."""
    for order in itertools.permutations(["left judges", "right judges", "left hears", "right hears"]):
        if order.index("left hears") < order.index("right judges") or order.index("right hears") < order.index(
            "left judges"
        ):
            continue  # nobody hears what was not said
        pacts = {"left": Pact(["right"]), "right": Pact(["left"])}
        at_ns, said, ends = {"left": 10 * MS, "right": (10 + late_ms) * MS}, {}, {"left": [], "right": []}
        for step in order:
            arm, what = step.split()
            other = "right" if arm == "left" else "left"
            if what == "hears":
                pacts[arm].hear(other, said[other])
            elif arm == refused:
                said[arm] = refusal(chunk())
            else:
                said[arm] = pacts[arm].propose(chunk(), at_ns[arm])
            ends[arm] += [not done.reason for done in pacts[arm].settled()]
        together = refused == "nobody" and late_ms * MS <= GRACE_NS
        for arm in ("left", "right"):
            assert ends[arm] == ([] if arm == refused else [together]), (order, arm)
