"""A digest is of what moved, in the episode's own time; who asks for episodes gets the runner that fits the stack."""

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from geometry_msgs.msg import Pose, Twist  # noqa: E402

from d2ppo_core.errors import StackError  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, WorldState  # noqa: E402
from d2ppo_nodes.client import StackClient  # noqa: E402
from d2ppo_nodes.convert import time_msg  # noqa: E402
from d2ppo_nodes.episodes import EpisodeRunner  # noqa: E402
from d2ppo_nodes.episodes_in_step import EpisodeRunnerInStep, chunk_bytes, episode_runner  # noqa: E402

MS = 1_000_000
ADDRESS = "127.0.0.254"


@pytest.fixture
def client(ros_domain_id: int) -> Iterator[StackClient]:
    client = StackClient("/nobody", ros_domain_id, ADDRESS)
    yield client
    client.close()


def chunk(start_ms: int = 0, *, height_m: float = 0.1, sequence: int = 0) -> ActionChunk:
    message = ActionChunk(sequence=sequence, epoch=sequence, dt_s=0.05, poses=[Pose()], twists=[Twist()])
    message.poses[0].position.z, message.gripper_width_m = height_m, [0.04]
    message.header.stamp = time_msg((start_ms + 50) * MS)
    message.received, message.published = time_msg((start_ms + 65) * MS), time_msg((start_ms + 75) * MS)
    return message


def world(stamp_ms: int, height_m: float = 0.8) -> WorldState:
    state = WorldState(qpos=[0.1, height_m])
    state.header.stamp = time_msg(stamp_ms * MS)
    return state


def digest_of(runner: EpisodeRunnerInStep, start_ms: int, frames: list[WorldState], chunks: list[ActionChunk]) -> str:
    runner._forget()
    runner._frames, runner._recording = [], True
    for frame in frames:
        runner._on_world(frame)
    for message in chunks:
        runner._on_chunk(message)
    return runner._digest(start_ms * MS, (start_ms + 100) * MS)


def test_who_asks_for_episodes_gets_the_runner_of_a_stack_in_step_or_of_another(client, ros_domain_id: int) -> None:
    assert isinstance(episode_runner(client, lambda: None, 1.0), EpisodeRunnerInStep)
    other = StackClient("/somebody", ros_domain_id)
    runner = episode_runner(other, lambda: None, 1.0)
    assert type(runner) is EpisodeRunner and runner._digest(0, 1) == ""
    with pytest.raises(StackError, match="this client is not in step with a world"):
        _ = EpisodeRunnerInStep(other, lambda: None, 1.0)._member
    other.close()


def test_the_same_motion_at_another_time_has_the_same_digest_and_another_motion_has_not(client) -> None:
    runner = EpisodeRunnerInStep(client, lambda: None, 1.0)
    first = digest_of(runner, 0, [world(0), world(50), world(100), world(150)], [chunk()])
    later = digest_of(runner, 800, [world(800, 0.7), world(850), world(900)], [chunk(800, sequence=7)])
    assert first == later, "frames at the start and after the end are not of the episode"
    assert first != digest_of(runner, 0, [world(50), world(100, 0.8 + 1e-16 * 8)], [chunk()])
    assert first != digest_of(runner, 0, [world(50), world(100)], [chunk(height_m=0.2)])
    assert first != digest_of(runner, 0, [world(50), world(100)], [])


def test_the_bytes_of_a_chunk_hold_its_times_and_targets_and_not_its_number() -> None:
    assert chunk_bytes(chunk(), 0) == chunk_bytes(chunk(400, sequence=3), 400 * MS)
    late = chunk()
    late.published = time_msg(76 * MS)
    assert chunk_bytes(late, 0) != chunk_bytes(chunk(), 0)


def test_what_comes_before_the_start_or_after_the_end_is_not_recorded(client) -> None:
    runner = EpisodeRunnerInStep(client, lambda: None, 1.0)
    runner._on_world(world(50))
    runner._on_chunk(chunk())
    assert runner._frames == [] and runner._chunks == {}
