"""One policy and two arms as real processes: both follow a plan or neither does, and a seed gives the same motion."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.analysis.evaluation import Episode
from d2ppo_core.bundle import find_bundle
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_interfaces.msg import ArmState
from d2ppo_interfaces.srv import LoadPolicy
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.episodes import EpisodeRunner
from d2ppo_nodes.episodes_in_step import episode_runner

START_S, EPISODE_S = 120.0, 1.0

pytestmark = [pytest.mark.timeout(480), pytest.mark.slow]


@pytest.fixture(scope="module")
def stack(module_addresses: tuple[str, str], ros_domain_id: int, pair_bundle: Path) -> Iterator[Stack]:
    chosen = {
        "task": "transport",
        "bundle": str(pair_bundle),
        "cameras": "false",
        "stepping": "deterministic",
        "left_address": module_addresses[0],
        "right_address": module_addresses[1],
    }
    with Stack(load_stack("sim_transport", chosen), domain_id=ros_domain_id) as running:
        yield running


@pytest.fixture(scope="module")
def runner(stack: Stack, client: StackClient) -> EpisodeRunner:
    runner = episode_runner(client, stack.check, EPISODE_S)
    runner.wait_until_up(START_S)
    return runner


@pytest.fixture(scope="module")
def first(runner: EpisodeRunner) -> Episode:
    return runner.run(0, 3)


def test_both_arms_follow_every_plan_and_a_seed_gives_the_same_motion_again(
    runner: EpisodeRunner, first: Episode
) -> None:
    again = runner.run(1, 3)
    assert (first.outcome, first.waits_given_up, first.chunks_refused) == ("time out", 0, 0)
    assert first.arms == ("left", "right") and first.chunks_alone == again.chunks_alone == 0
    followed = [timing for timing in first.timings if timing.first_command_ms is not None]
    assert len(followed) >= 2 and {timing.apart_ms for timing in followed} == {0.0}
    assert first.digest == again.digest and first.digest
    for arm in (0, 1):
        track = [sample.hands[arm].measured_m[0] for sample in first.samples]
        assert max(track) > min(track) + 0.003, "the policy moved the hand"


def test_a_bundle_of_one_arm_is_refused_and_the_running_one_goes_on(client: StackClient, first: Episode) -> None:
    request = LoadPolicy.Request(bundle_path=str(find_bundle("lift_state")))
    answer = client._answer(LoadPolicy, "policy/load", request, 30.0)
    assert not answer.success and "moves one arm, the stack 2 arms" in answer.message
    assert answer.bundle_hash == client.policy.bundle_hash


def test_the_emergency_stop_is_one_for_both_and_the_next_episode_is_as_if_nothing_had_been(
    client: StackClient, runner: EpisodeRunner, first: Episode
) -> None:
    client.publish_estop(True)
    both = lambda: all(state.state == ArmState.ESTOPPED for state in client.states.values())  # noqa: E731
    client.spin_until(both, 30.0, "the stop of both")
    client.spin_until(lambda: client.together.startswith("ESTOPPED"), 30.0, "the coordinator to say so")
    client.trigger("clear_estop", 30.0)
    assert runner.run(2, 3).digest == first.digest
