"""Running episodes: who has not spoken is named, and times are taken from what the nodes say of themselves."""

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.errors import StackError  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, ArmState, WorldState  # noqa: E402
from d2ppo_nodes.client import StackClient  # noqa: E402
from d2ppo_nodes.convert import time_msg  # noqa: E402
from d2ppo_nodes.episodes import EpisodeRunner  # noqa: E402

MS = 1_000_000
CAPTURE_NS = 5_000 * MS


@pytest.fixture
def client(ros_domain_id: int) -> Iterator[StackClient]:
    client = StackClient("/nobody", ros_domain_id)
    yield client
    client.close()


def test_an_arm_that_has_said_nothing_is_named_instead_of_homed(client: StackClient) -> None:
    runner = EpisodeRunner(client, lambda: None, horizon_s=1.0)
    with pytest.raises(StackError, match=r"the arm has said nothing yet \(arm/state\)"):
        runner.bring_home()


def test_a_process_that_died_ends_the_wait_with_its_own_reason(client: StackClient) -> None:
    def check() -> None:
        raise StackError("sim ended with exit code 1: no world")

    with pytest.raises(StackError, match="sim ended with exit code 1: no world"):
        EpisodeRunner(client, check, horizon_s=1.0).wait_until_up(20.0)
    with pytest.raises(StackError, match=r"waited 0 s for the simulated world \(sim/state\)"):
        EpisodeRunner(client, lambda: None, horizon_s=1.0).wait_until_up(0.0)


def test_latencies_run_from_the_capture_to_the_first_command_that_the_arm_reported(client: StackClient) -> None:
    runner = EpisodeRunner(client, lambda: None, horizon_s=1.0)
    for sequence in (3, 4):
        chunk = ActionChunk(sequence=sequence, inference_wall_s=0.007)
        chunk.header.stamp = time_msg(CAPTURE_NS)
        chunk.received, chunk.published = time_msg(CAPTURE_NS + 2 * MS), time_msg(CAPTURE_NS + 12 * MS)
        client.on_chunk(chunk)
    for first_ms in (0, 20, 28):  # 0: none yet; what it said first is kept
        first_ns = CAPTURE_NS + first_ms * MS if first_ms else 0
        client.on_arm(ArmState(chunk_sequence=3, chunk_first_command=time_msg(first_ns)))
    followed, ignored = runner._timings()
    assert (followed.received_ms, followed.published_ms) == (pytest.approx(2.0), pytest.approx(12.0))
    assert followed.first_command_ms == pytest.approx(20.0) and followed.inference_wall_ms == pytest.approx(7.0)
    assert ignored.first_command_ms is None


def test_a_sample_needs_both_the_world_and_the_arm(client: StackClient) -> None:
    runner = EpisodeRunner(client, lambda: None, horizon_s=1.0)
    world = WorldState(qpos=[1.0, 2.0])
    world.header.stamp = time_msg(CAPTURE_NS)
    client.on_world(world)
    client.arm = ArmState(gripper_width_m=0.04)
    client.arm.pose.position.z, client.arm.reference_pose.position.z = 0.3, 0.31
    client.on_world(world)
    (sample,) = runner._samples
    assert (sample.time_s, sample.qpos, sample.gripper_width_m) == (5.0, (1.0, 2.0), 0.04)
    assert (sample.measured_m[2], sample.reference_m[2]) == (0.3, 0.31)


@pytest.mark.parametrize("state", [ArmState.REFLEX, ArmState.RUNNING])
def test_an_arm_that_stops_itself_as_the_episode_ends_costs_no_evaluation(
    client: StackClient, monkeypatch: pytest.MonkeyPatch, state: int
) -> None:
    def refuse(service: str) -> str:
        client.arm = ArmState(state=state)  # said after the stop was called
        raise StackError(f"{service}: stop needs READY, RUNNING, HOLDING")

    monkeypatch.setattr(client, "trigger", refuse)
    runner = EpisodeRunner(client, lambda: None, horizon_s=1.0)
    if state == ArmState.REFLEX:
        runner._stop()
    else:
        with pytest.raises(StackError, match="arm/stop: stop needs READY"):
            runner._stop()


@pytest.fixture
def pair(ros_domain_id: int) -> Iterator[StackClient]:
    client = StackClient("/pair", ros_domain_id, arms=("left", "right"))
    yield client
    client.close()


def test_of_two_arms_the_time_between_first_commands_and_what_one_did_alone_are_told(pair: StackClient) -> None:
    runner = EpisodeRunner(pair, lambda: None, horizon_s=1.0)
    for sequence in (3, 4, 5):
        for name in pair.names:
            chunk = ActionChunk(sequence=sequence)
            chunk.header.stamp = time_msg(CAPTURE_NS)
            pair.on_chunk(chunk, name)
    for name, sequence, first_ms in (("left", 3, 20), ("right", 3, 28), ("right", 4, 20)):
        first = time_msg(CAPTURE_NS + first_ms * MS)
        pair.on_arm(ArmState(chunk_sequence=sequence, chunk_first_command=first), name)
    both, alone, neither = runner._timings()
    assert (both.first_command_ms, both.apart_ms) == (pytest.approx(28.0), pytest.approx(8.0))
    assert alone.first_command_ms is alone.apart_ms is neither.first_command_ms is None
    assert runner._chunks_alone() == 1


def test_a_pair_is_operated_through_its_coordinator_and_its_stop_ends_an_episode(pair: StackClient) -> None:
    runner = EpisodeRunner(pair, lambda: None, horizon_s=1.0)
    assert pair.service("home") == "home"
    pair.states["left"] = ArmState(state=ArmState.RUNNING)
    with pytest.raises(StackError, match=r"the arm right has said nothing yet \(arm/state\)"):
        runner.bring_home()
    pair.states["right"] = ArmState(state=ArmState.RUNNING, gripper_width_m=0.02)
    pair.together = "RUNNING: all arms follow chunks"
    assert runner._ended() == ""
    pair.on_world(WorldState(qpos=[1.0]))
    assert [hand.gripper_width_m for hand in runner._samples[0].hands] == [0.0, 0.02]
    pair.together = "IDLE: left is HOLDING (no chunk for 0.60 s; holds); all arms stopped"
    assert runner._ended().startswith("stopped: IDLE: left is HOLDING")
    pair.states["right"] = ArmState(state=ArmState.REFLEX, reason="bumped")
    assert runner._ended() == "right reflex: bumped"
