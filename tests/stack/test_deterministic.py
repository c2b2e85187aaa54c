"""In step with all its nodes the world repeats an episode bit for bit, and names who keeps it waiting."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2ppo_core.analysis.evaluation import Episode
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_interfaces.msg import ArmState
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.episodes import EpisodeRunner
from d2ppo_nodes.episodes_in_step import episode_runner

START_S = 90.0
SEEDS = (3, 4)
EPISODE_S = 1.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("in_step") / "stack.log"


@pytest.fixture(scope="module")
def stack(module_address: str, ros_domain_id: int, log_file: Path) -> Iterator[Stack]:
    chosen = {
        "robot_address": module_address,
        "stepping": "deterministic",
        "sim.patience_s": 10.0,
        "policy.image_latency_ms": 21.0,
        "policy.inference_latency_ms": 13.0,
    }
    with Stack(load_stack("sim", chosen), domain_id=ros_domain_id, log_file=log_file) as running:
        yield running


@pytest.fixture(scope="module")
def runner(stack: Stack, client: StackClient) -> EpisodeRunner:
    runner = episode_runner(client, stack.check, EPISODE_S)
    runner.wait_until_up(START_S)
    return runner


@pytest.fixture(scope="module")
def episodes(runner: EpisodeRunner) -> list[Episode]:
    """One seed, another one, and the first one again."""
    return [runner.run(index, seed) for index, seed in enumerate((*SEEDS, SEEDS[0]))]


def test_a_seed_gives_the_same_positions_and_chunks_again_whatever_was_before(episodes: list[Episode]) -> None:
    first, other, again = episodes
    assert all(episode.outcome in ("time out", "success") and episode.waits_given_up == 0 for episode in episodes)
    assert first.digest == again.digest != other.digest and first.digest
    assert [sample.qpos for sample in first.samples] == [sample.qpos for sample in again.samples]
    assert (first.outcome, first.duration_s) == (again.outcome, again.duration_s)
    heights = [sample.measured_m[2] for sample in first.samples]
    assert max(heights) > min(heights) + 0.005, "the policy moved the hand"


def test_the_ledger_holds_the_latencies_that_were_declared(episodes: list[Episode]) -> None:
    timings = episodes[0].timings
    assert len(timings) >= 3
    for timing in timings:
        assert (timing.received_ms, timing.published_ms) == (pytest.approx(21.0), pytest.approx(34.0))
    followed = [timing.first_command_ms for timing in timings if timing.first_command_ms is not None]
    assert followed and all(34.0 <= first_ms < 34.0 + 8.0 for first_ms in followed), "the first tick after that time"


def test_after_a_reflex_the_arm_recovers_while_time_goes_on_and_the_seed_gives_the_same_again(
    client: StackClient, runner: EpisodeRunner, episodes: list[Episode]
) -> None:
    client.inject_fault("reflex")
    client.spin_until(lambda: client.arm and client.arm.state == ArmState.REFLEX, 30.0, "the reflex")
    again = runner.run(0, SEEDS[1])
    assert again.digest == episodes[1].digest and again.waits_given_up == 0


def test_a_camera_that_is_stuck_is_named_and_waited_for(
    stack: Stack, client: StackClient, runner: EpisodeRunner, log_file: Path
) -> None:
    camera, told = stack.processes["camera"].pid, client.world.waits_given_up
    os.kill(camera, signal.SIGSTOP)
    try:
        client.spin_until(lambda: client.world.waits_given_up > told, 60.0, "the wait to run out")
    finally:
        os.kill(camera, signal.SIGCONT)
    deadline_s = time.monotonic() + 10.0
    while "waited 10 s for panda/camera (the frame of" not in log_file.read_text():
        assert time.monotonic() < deadline_s, log_file.read_text()
        time.sleep(0.05)
    episode = runner.run(0, SEEDS[0])
    assert episode.digest and episode.waits_given_up == 0, "it is waited for again once it answers"
