"""The words of nodes cross from process to process; who is not there is told nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from d2ppo_core.errors import WorldError
from d2ppo_core.stack.stepping import CHUNK, JOIN, LEAVE, PLAN, TICK, Host, Member, Word, channel_folder

ADDRESS = "127.0.0.252"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host(ADDRESS)
    yield host
    host.close()


def test_each_word_says_who_it_is_from_and_what_he_answers_for(host: Host) -> None:
    member = Member("panda/policy", ADDRESS)
    member.say(TICK, 1)
    member.join(PLAN, latency_ns=25)
    member.say(PLAN, 50, chunk=True)
    member.say(TICK, 56, orders=2)
    member.close()
    own = {"who": "panda/policy", "answers": (PLAN,), "latency_ns": 25}
    assert host.words() == [
        Word(what=JOIN, **own),
        Word(what=PLAN, stamp_ns=50, chunk=True, **own),
        Word(what=TICK, stamp_ns=56, orders=2, **own),
        Word(who="panda/policy", what=LEAVE, latency_ns=25),
    ], "before it joins, and after it left, a node says nothing"
    assert host.words() == []


def test_a_node_does_not_mind_a_world_that_is_not_there_yet_and_reaches_it_later() -> None:
    member = Member("arm", ADDRESS)
    member.join(TICK, CHUNK)
    host = Host(ADDRESS)
    member.say(TICK, 8)
    assert [(word.what, word.answers) for word in host.words()] == [(TICK, (TICK, CHUNK))]
    host.close()
    member.say(TICK, 16)
    member.close()


def test_what_is_no_word_is_dropped(host: Host) -> None:
    member = Member("arm", ADDRESS)
    for message in (b"", b"\xff", b"[1, 2]", b"{}", b'{"answers": []}'):
        member._socket.sendto(message, member._path)
    member.join(TICK)
    assert [word.what for word in host.words()] == [JOIN]


def test_two_worlds_do_not_listen_at_one_address_but_the_socket_of_a_dead_one_is_taken_over(host: Host) -> None:
    with pytest.raises(WorldError, match=f"another world steps at {ADDRESS}; stop it or choose another"):
        Host(ADDRESS)
    host.socket.close()
    assert (channel_folder(ADDRESS) / "world.steps").exists()
    Host(ADDRESS).close()
    assert not (channel_folder(ADDRESS) / "world.steps").exists()
