"""Whom the world waits for, in which order, and what happens when nobody answers."""

import pytest

from d2ppo_core.stack.stepping import CHUNK, DRAW, JOIN, LEAVE, PLAN, TICK, WATCH, Word
from sim.world.rendezvous import Rendezvous

MS = 1_000_000
STEP, FRAME, LATENCY = 8 * MS, 50 * MS, 25 * MS
ANSWERS = {"arm": (TICK, CHUNK), "camera": (DRAW,), "policy": (PLAN,), "client": (WATCH, CHUNK)}


def say(nodes: Rendezvous, who: str, what: str, stamp_ns: int = 0, **more: object) -> None:
    latency_ns = LATENCY if who == "policy" else 0
    nodes.hear(Word(who=who, what=what, stamp_ns=stamp_ns, answers=ANSWERS[who], latency_ns=latency_ns, **more))


@pytest.fixture
def nodes() -> Rendezvous:
    """Everybody has joined, and answered everything once."""
    nodes = Rendezvous(STEP, FRAME)
    for who, kinds in ANSWERS.items():
        say(nodes, who, JOIN)
        for what in kinds:
            say(nodes, who, what)
    return nodes


def test_a_world_without_nodes_waits_for_nobody() -> None:
    nodes = Rendezvous(STEP, FRAME)
    nodes.tick(0)
    nodes.frame(0)
    assert nodes.missing(10 * FRAME) == {} and nodes.joined == frozenset()


def test_a_tick_must_be_answered_before_the_next_one(nodes: Rendezvous) -> None:
    nodes.tick(40 * MS)
    assert nodes.missing(48 * MS) == {"arm": "the tick of 0.040 s"}
    say(nodes, "arm", TICK, 32 * MS)
    assert nodes.missing(48 * MS), "an older tick is no answer"
    say(nodes, "arm", TICK, 40 * MS, orders=3)
    assert nodes.missing(48 * MS) == {} and nodes.orders["arm"] == 3


def test_of_a_frame_the_camera_is_asked_first_and_nobody_before_its_chunk_may_act(nodes: Rendezvous) -> None:
    nodes.frame(50 * MS)
    assert nodes.missing(74 * MS) == {}, "the world goes on while the picture is drawn"
    assert set(nodes.missing(75 * MS)) == {"camera", "client"}
    say(nodes, "client", WATCH, 50 * MS)
    assert nodes.missing(75 * MS) == {"camera": "the frame of 0.050 s"}, "the policy waits for the picture itself"
    say(nodes, "camera", DRAW, 50 * MS)
    assert nodes.missing(75 * MS) == {"policy": "a plan by the frame of 0.050 s"}
    say(nodes, "policy", PLAN, 50 * MS, chunk=True)
    assert set(nodes.missing(75 * MS)) == {"arm", "client"}
    say(nodes, "client", CHUNK, 50 * MS)
    assert nodes.missing(75 * MS) == {"arm": "the chunk of the frame of 0.050 s"}
    say(nodes, "arm", CHUNK, 50 * MS)
    assert nodes.missing(10 * FRAME) == {}


def test_a_frame_that_makes_no_chunk_due_needs_none_to_be_received(nodes: Rendezvous) -> None:
    nodes.frame(50 * MS)
    for who, what in (("camera", DRAW), ("client", WATCH), ("policy", PLAN)):
        say(nodes, who, what, 50 * MS)
    assert nodes.missing(10 * FRAME) == {}


def test_a_plan_without_pictures_is_a_tick_and_its_chunk_must_be_received_too() -> None:
    nodes = Rendezvous(STEP, FRAME)
    say(nodes, "arm", TICK)
    say(nodes, "arm", CHUNK)
    state_policy = {"who": "policy", "answers": (TICK,), "latency_ns": LATENCY}
    nodes.hear(Word(what=TICK, **state_policy))
    nodes.tick(40 * MS)
    say(nodes, "arm", TICK, 40 * MS)
    assert set(nodes.missing(48 * MS)) == {"policy"}
    nodes.hear(Word(what=TICK, stamp_ns=40 * MS, chunk=True, **state_policy))
    assert nodes.missing(48 * MS) == {}
    nodes.tick(64 * MS)
    say(nodes, "arm", TICK, 64 * MS)
    nodes.hear(Word(what=TICK, stamp_ns=64 * MS, **state_policy))
    assert set(nodes.missing(72 * MS)) == {"arm"}
    say(nodes, "arm", CHUNK, 40 * MS)
    assert nodes.missing(72 * MS) == {}


def test_a_chunk_may_be_received_before_its_planner_says_that_it_sent_one() -> None:
    nodes = Rendezvous(STEP, FRAME)
    say(nodes, "arm", TICK)
    say(nodes, "arm", CHUNK, 40 * MS)
    say(nodes, "policy", PLAN, 40 * MS, chunk=True)
    assert nodes.missing(10 * FRAME) == {}


def test_a_node_is_not_asked_before_it_has_answered_once_and_is_named_until_then() -> None:
    nodes = Rendezvous(STEP, FRAME)
    say(nodes, "arm", JOIN)
    nodes.tick(40 * MS)
    assert nodes.missing(48 * MS) == {} and nodes.unproven() == {"arm": "the tick"}
    say(nodes, "arm", TICK, 40 * MS)
    nodes.tick(48 * MS)
    assert set(nodes.missing(56 * MS)) == {"arm"} and nodes.unproven() == {}


def test_a_word_is_as_good_as_joining_for_the_world_may_have_started_later() -> None:
    nodes = Rendezvous(STEP, FRAME)
    say(nodes, "camera", DRAW, 50 * MS)
    assert nodes.joined == {"camera"}


def test_who_is_given_up_is_named_and_not_waited_for_until_it_speaks_again(nodes: Rendezvous) -> None:
    nodes.frame(50 * MS)
    say(nodes, "client", WATCH, 50 * MS)
    assert nodes.give_up(75 * MS) == "camera (the frame of 0.050 s)" and nodes.given_up == 1
    assert nodes.joined == {"arm", "policy", "client"}
    nodes.frame(100 * MS)
    say(nodes, "client", WATCH, 100 * MS)
    assert nodes.missing(10 * FRAME) == {}, "without its pictures the policy is not waited for either"
    say(nodes, "camera", DRAW, 50 * MS)
    nodes.frame(150 * MS)
    say(nodes, "client", WATCH, 150 * MS)
    assert set(nodes.missing(175 * MS)) == {"camera"}


def test_who_leaves_is_not_waited_for_nor_who_depends_on_it(nodes: Rendezvous) -> None:
    say(nodes, "camera", LEAVE)
    nodes.frame(50 * MS)
    say(nodes, "client", WATCH, 50 * MS)
    assert nodes.missing(10 * FRAME) == {}
    say(nodes, "policy", LEAVE)
    say(nodes, "camera", JOIN)
    say(nodes, "camera", DRAW)
    assert nodes.joined == {"arm", "camera", "client"}


def test_who_joins_answers_for_what_comes_from_then_on(nodes: Rendezvous) -> None:
    say(nodes, "camera", LEAVE)
    nodes.frame(50 * MS)
    say(nodes, "camera", JOIN)
    say(nodes, "camera", DRAW)
    say(nodes, "client", WATCH, 50 * MS)
    assert set(nodes.missing(75 * MS)) == {"policy"}


def test_the_chunk_of_a_first_plan_that_nobody_waited_for_is_not_waited_for_either() -> None:
    nodes = Rendezvous(STEP, FRAME)
    for who in ("arm", "policy"):
        say(nodes, who, JOIN)
    nodes.frame(50 * MS)
    say(nodes, "arm", CHUNK, 50 * MS)  # it came sooner than the policy's own word
    assert nodes.missing(3 * FRAME) == {}
    say(nodes, "policy", PLAN, 50 * MS, chunk=True)
    assert nodes.missing(4 * FRAME) == {}, "the arm has it, and will not say so again"
