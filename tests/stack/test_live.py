"""The whole stack as real processes: real DDS, real libfranka client, real ONNX Runtime, MuJoCo as the world."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from d2ppo_core.bundle import find_bundle
from d2ppo_core.errors import StackError
from d2ppo_core.stack.loader import load_stack
from d2ppo_core.stack.runner import Stack
from d2ppo_interfaces.msg import ArmState, PolicyStatus
from d2ppo_interfaces.srv import LoadPolicy
from d2ppo_nodes.client import StackClient, client_of
from d2ppo_nodes.episodes import EpisodeRunner
from d2ppo_nodes.episodes_in_step import episode_runner

START_S = 90.0


@pytest.fixture
def stepping() -> str:
    """How the world steps; a test that is about the machine's own time has another one."""
    return "deterministic"


@pytest.fixture
def stack(robot_address: str, ros_domain_id: int, tmp_path: Path, stepping: str) -> Iterator[Stack]:
    chosen = {"robot_address": robot_address, "stepping": stepping, "sim.patience_s": 3.0}
    description = load_stack("sim", chosen)
    with Stack(description, domain_id=ros_domain_id, log_file=tmp_path / "stack.log") as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[StackClient]:
    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
    client = client_of(stack.description)
    yield client
    client.close()


@pytest.fixture
def runner(stack: Stack, client: StackClient) -> EpisodeRunner:
    runner = episode_runner(client, stack.check, horizon_s=15.0)
    runner.wait_until_up(START_S)
    return runner


def reach(client: StackClient, state: int, timeout_s: float = 30.0) -> None:
    client.spin_until(lambda: client.arm and client.arm.state == state, timeout_s, f"arm state {state}")


def start_moving(client: StackClient) -> None:
    client.trigger("arm/home")
    client.spin_until(lambda: client.arm.reason == "homing", 30.0, "the arm to home")  # older states may still come in
    reach(client, ArmState.READY)
    client.trigger("arm/start")
    sequence = client.arm.chunk_sequence
    client.spin_until(lambda: client.arm.chunk_sequence > sequence + 1, 20.0, "two chunks to be followed")


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "stack.log").read_text()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stepping", ["real_time"])
def test_the_shipped_policy_lifts_the_cube_and_everything_is_measured(runner: EpisodeRunner):
    assert runner._client.arm.header.frame_id == "fr3_link0"
    episodes = [runner.run(i, seed) for i, seed in enumerate((1, 2, 3))]
    assert any(episode.success for episode in episodes), [episode.outcome for episode in episodes]
    arm = runner._client.arm
    refused = dict(zip(arm.refusal_reasons, arm.refusal_counts, strict=True))
    assert set(refused) <= {"blind", "expired"}, refused  # what comes too late on a machine that cannot keep up
    for episode in episodes:
        assert episode.outcome in ("success", "time out")
        assert len(episode.timings) >= 5 and len(episode.samples) >= 20
        assert episode.ticks >= 100 * episode.duration_s * 0.9
        assert episode.chunks_refused == 0 or episode.real_time_factor < 0.5, refused
        for timing in episode.timings:
            assert 0 <= timing.received_ms <= timing.published_ms < 500
    moved = [t for t in episodes[0].timings if t.first_command_ms is not None]
    assert len(moved) >= 0.8 * len(episodes[0].timings) - 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("robot", "stepping"), [("panda", "real_time")])
def test_the_other_robot_lifts_the_cube_too_by_its_own_protocol(
    robot, robot_address, ros_domain_id, tmp_path, stepping
):
    """The stack's default is an FR3; a Panda speaks version 5, for which a client must be installed."""
    pytest.importorskip("d2ppo_core.drivers.clients", reason="needs the arm node's second client")
    pytest.importorskip("franka", reason="needs franka-rs (extra franka)")
    description = load_stack("sim", {"robot_address": robot_address, "robot": robot, "stepping": stepping})
    with Stack(description, domain_id=ros_domain_id, log_file=tmp_path / "stack.log") as stack:
        os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
        client = client_of(description)
        runner = episode_runner(client, stack.check, horizon_s=15.0)
        runner.wait_until_up(START_S)
        assert client.arm.header.frame_id == f"{robot}_link0"
        assert "serves a panda, version 5" in log_of(tmp_path)
        episodes = [runner.run(i, seed) for i, seed in enumerate((1, 2))]
        client.close()
    assert any(episode.success for episode in episodes), [episode.outcome for episode in episodes]


@pytest.mark.timeout(240)
def test_whoever_names_a_task_gets_its_world_cell_camera_and_policy(robot_address, ros_domain_id, tmp_path, stepping):
    description = load_stack("sim", {"robot_address": robot_address, "task": "can", "stepping": stepping})
    with Stack(description, domain_id=ros_domain_id, log_file=tmp_path / "stack.log") as stack:
        os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
        client = client_of(description)
        episode_runner(client, stack.check, horizon_s=15.0).wait_until_up(START_S)
        start_moving(client)
        assert client.world.task == "can" and client.policy.bundle_name == "can_state"
        with pytest.raises(StackError, match="bundle lift_image is of task lift, the stack of can"):
            client._call(LoadPolicy, "policy/load", LoadPolicy.Request(bundle_path="lift_image"), 20.0)
        client.close()


@pytest.mark.timeout(240)
def test_when_the_camera_stops_the_policy_names_it_and_the_arm_holds(stack, client, runner, tmp_path):
    start_moving(client)
    stack.stop_node("camera")
    reach(client, ArmState.HOLDING)
    assert "no chunk for" in client.arm.reason
    client.spin_until(lambda: client.policy.state == PolicyStatus.STARVED, 10.0, "the policy to say so")
    assert "camera robot0_eye_in_hand stopped" in client.policy.reason
    assert at_rest(client)
    stack.start_node("camera")
    reach(client, ArmState.RUNNING, 60.0)


@pytest.mark.timeout(240)
def test_when_the_policy_is_killed_the_arm_holds_and_the_stack_says_who_died(stack, client, runner):
    start_moving(client)
    os.kill(stack.processes["policy"].pid, signal.SIGKILL)
    reach(client, ArmState.HOLDING)
    assert at_rest(client)
    with pytest.raises(StackError, match="policy.*(SIGKILL|signal 9)"):
        stack.check()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stepping", ["real_time"])
def test_when_the_robot_goes_away_the_arm_says_so(stack, client, runner, tmp_path):
    start_moving(client)
    os.kill(stack.processes["sim"].pid, signal.SIGKILL)
    reach(client, ArmState.DISCONNECTED)
    assert stack.description.nodes[-1].parameters["robot_address"] in client.arm.reason
    assert stack.processes["arm"].exit_code is None, "the arm node must outlive its robot"
    deadline = time.monotonic() + 30.0
    while "DISCONNECTED" not in log_of(tmp_path):  # the log lags behind the state by a pipe
        assert time.monotonic() < deadline, log_of(tmp_path)
        time.sleep(0.05)


@pytest.mark.timeout(240)
def test_a_state_policy_lifts_the_cube_and_holds_while_it_is_out_of_sight(
    robot_address, ros_domain_id, tmp_path, stepping
):
    chosen = {"robot_address": robot_address, "bundle": "lift_state", "stepping": stepping, "sim.patience_s": 3.0}
    description = load_stack("sim", chosen)
    with Stack(description, domain_id=ros_domain_id, log_file=tmp_path / "stack.log") as stack:
        os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
        client = client_of(description)
        runner = episode_runner(client, stack.check, horizon_s=15.0)
        runner.wait_until_up(START_S)
        episodes = [runner.run(i, seed) for i, seed in enumerate((1, 2))]
        assert any(episode.success for episode in episodes), [episode.outcome for episode in episodes]
        start_moving(client)
        hide(client, "cube")
        reach(client, ArmState.HOLDING)
        client.spin_until(lambda: client.policy.state == PolicyStatus.STARVED, 10.0, "the policy to say so")
        assert "object cube is out of sight: last seen" in client.policy.reason
        assert at_rest(client)
        hide(client, "")
        reach(client, ArmState.RUNNING, 60.0)
        client.close()


def hide(client: StackClient, names: str) -> None:
    """Let the simulated perception no longer see objects of these names."""
    given = [Parameter("objects_hidden", value=names).to_parameter_msg()]
    asker = client._node.create_client(SetParameters, "sim/set_parameters")
    client.spin_until(asker.service_is_ready, 20.0, "the sim node's parameters")
    future = asker.call_async(SetParameters.Request(parameters=given))
    client.spin_until(future.done, 20.0, "the sim node to take them")
    assert all(result.successful for result in future.result().results)


@pytest.mark.timeout(120)
def test_a_damaged_bundle_ends_the_stack_with_one_line(robot_address, ros_domain_id, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(find_bundle("lift_image"), damaged)
    content = bytearray((damaged / "policy.onnx").read_bytes())
    content[1000] ^= 1
    (damaged / "policy.onnx").write_bytes(content)
    description = load_stack("sim", {"robot_address": robot_address, "bundle": str(damaged)})
    with Stack(description, domain_id=ros_domain_id) as stack:
        with pytest.raises(
            StackError, match=r"(policy|camera) ended .*checksum mismatch in bundle damaged: policy\.onnx"
        ) as error:
            stack.wait(START_S)
    assert "\n" not in str(error.value)


@pytest.mark.timeout(240)
def test_an_emergency_stop_is_latched_until_it_is_cleared(stack, client, runner):
    start_moving(client)
    client.publish_estop(True)
    reach(client, ArmState.ESTOPPED)
    client.publish_estop(False)
    with pytest.raises(StackError, match="home needs .* the arm is ESTOPPED"):
        client.trigger("arm/home")
    client.trigger("arm/clear_estop")
    start_moving(client)


def at_rest(client: StackClient) -> bool:
    """Wait until the measured joints stand still; the chunk's own settling takes a few tenths of a second."""
    client.spin_until(lambda: max(abs(x) for x in client.arm.dq_rad_s) < 0.02, 5.0, "the arm to come to rest")
    return True
