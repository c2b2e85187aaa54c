"""The sim node as a process: its clock, its services, its ground truth, and how it fails."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from d2ppo_core.stack.stepping import DRAW, Member  # noqa: E402
from d2ppo_interfaces.msg import ObjectPoses, WorldState  # noqa: E402
from d2ppo_interfaces.srv import InjectFault, ResetWorld, StepWorld  # noqa: E402

NAMESPACE = "/test_sim"


def start_node(address: str, *parameters: str, domain_id: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.sim_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in (f"robot_address:={address}", "use_sim_time:=true", *parameters):
        command += ["-p", parameter]
    environment = os.environ if domain_id is None else {**os.environ, "ROS_DOMAIN_ID": str(domain_id)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Observer:
    """Hears the clock and the ground truth, and calls the services."""

    def __init__(self, domain_id: int) -> None:
        self._context = rclpy.Context()
        self._context.init(domain_id=domain_id)
        self.node = rclpy.create_node("observer", namespace=NAMESPACE, context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.clock_ns: list[int] = []
        self.worlds: list[WorldState] = []
        self.node.create_subscription(Clock, "/clock", self._on_clock, 1000)
        self.objects: list[ObjectPoses] = []
        self.node.create_subscription(ObjectPoses, "perception/objects", self.objects.append, 10)
        self.node.create_subscription(WorldState, "sim/state", self.worlds.append, 10)

    def _on_clock(self, message: Clock) -> None:
        self.clock_ns.append(message.clock.sec * 10**9 + message.clock.nanosec)

    def spin(self, until, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, "waited in vain"
            self._executor.spin_once(timeout_sec=0.05)

    def spin_for(self, wall_s: float) -> None:
        end = time.monotonic() + wall_s
        self.spin(lambda: time.monotonic() > end)

    def call(self, kind, name: str, **fields):
        client = self.node.create_client(kind, name)
        self.spin(client.service_is_ready)
        future = client.call_async(kind.Request(**fields))
        self.spin(future.done)
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def observer(ros_domain_id: int) -> Iterator[Observer]:
    observer = Observer(ros_domain_id)
    yield observer
    observer.close()


@pytest.fixture
def node(robot_address: str, observer: Observer) -> Iterator[subprocess.Popen[str]]:
    process = start_node(robot_address)
    observer.spin(lambda: observer.worlds)
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60.0) == 0


def test_clock_ticks_every_four_milliseconds_and_frames_come_at_20_hz(node, observer):
    begun_ns, begun_cpu_s = observer.clock_ns[-1], sum(psutil.Process(node.pid).cpu_times()[:2])
    observer.spin(lambda: len(observer.worlds) >= 40, timeout_s=60.0)
    simulated_s = (observer.clock_ns[-1] - begun_ns) * 1e-9
    cpu_s = sum(psutil.Process(node.pid).cpu_times()[:2]) - begun_cpu_s
    steps = {b - a for a, b in zip(observer.clock_ns, observer.clock_ns[1:], strict=False)}
    assert min(steps) == 4_000_000
    stamps = [w.header.stamp.sec * 10**9 + w.header.stamp.nanosec for w in observer.worlds]
    assert all(stamp % 50_000_000 == 0 for stamp in stamps)
    world = observer.worlds[-1]
    assert (world.task, world.success, world.episode, len(world.qpos)) == ("lift", False, 1, 16)
    assert 0.0 < world.real_time_factor <= 1.02
    assert cpu_s < 2.0 * simulated_s, "with a core of its own it would not even keep half of real time"


def test_reset_puts_the_cube_where_the_seed_says_and_time_goes_on(node, observer):
    before_ns = observer.clock_ns[-1]
    answer = observer.call(ResetWorld, "sim/reset_world", seed=7)
    assert answer.success and answer.episode == 2
    observer.spin(lambda: observer.worlds[-1].episode == 2)
    world = observer.worlds[-1]
    from sim.tasks.lift import LIFT
    from sim.world.world import World

    expected = World(LIFT, seed=7).data.qpos[9:11]
    assert world.qpos[9:11] == pytest.approx(expected, abs=1e-3)
    assert world.seed == 7
    assert observer.clock_ns[-1] > before_ns


def test_negative_seed_is_refused_and_the_world_goes_on(node, observer):
    answer = observer.call(ResetWorld, "sim/reset_world", seed=-1)
    assert not answer.success and "seed" in answer.message
    count = len(observer.worlds)
    observer.spin(lambda: len(observer.worlds) > count + 1)


def test_paused_world_stands_still_and_steps_exactly(node, observer):
    refused = observer.call(StepWorld, "sim/step", milliseconds=10)
    assert not refused.success and "pause it" in refused.message
    assert observer.call(SetBool, "sim/set_pause", data=True).success
    observer.spin_for(0.2)
    at_ns = observer.clock_ns[-1]
    observer.spin_for(0.3)
    assert observer.clock_ns[-1] == at_ns
    assert observer.call(StepWorld, "sim/step", milliseconds=100).success
    observer.spin(lambda: observer.clock_ns[-1] >= at_ns + 96_000_000)
    observer.spin_for(0.2)
    assert observer.clock_ns[-1] <= at_ns + 104_000_000
    assert observer.call(SetBool, "sim/set_pause", data=False).success
    observer.spin(lambda: observer.clock_ns[-1] > at_ns + 500_000_000)


def test_client_stays_connected_while_the_world_is_paused(node, observer, robot_address):
    franky = pytest.importorskip("franky", reason="needs franky-control (extra franka)")
    robot = franky.Robot(robot_address, realtime_config=franky.RealtimeConfig.Ignore)
    tracker = franky.CartesianImpedanceTracker(robot, translational_stiffness=600.0)
    assert observer.call(SetBool, "sim/set_pause", data=True).success
    observer.spin_for(2.5)  # libfranka gives up after one silent second
    assert observer.call(SetBool, "sim/set_pause", data=False).success
    at_ms = robot.state.time.to_msec()
    observer.spin(lambda: robot.state.time.to_msec() > at_ms + 200)
    assert tracker.is_running
    tracker.stop()


def test_faults_are_injected_by_service_and_unknown_ones_are_refused(node, observer, robot_address):
    franky = pytest.importorskip("franky", reason="needs franky-control (extra franka)")
    robot = franky.Robot(robot_address, realtime_config=franky.RealtimeConfig.Ignore)
    answer = observer.call(InjectFault, "sim/inject_fault", fault="user_stop", duration_s=0.4)
    assert answer.success and "for 0.4 s" in answer.message
    observer.spin(lambda: robot.state.robot_mode == franky.RobotMode.UserStopped)
    observer.spin(lambda: robot.state.robot_mode == franky.RobotMode.Idle)
    assert observer.call(InjectFault, "sim/inject_fault", fault="self_collision_avoidance_violation").success
    observer.spin(lambda: robot.state.robot_mode == franky.RobotMode.Reflex)
    assert "self_collision_avoidance_violation" in str(robot.state.current_errors)
    assert robot.recover_from_errors()
    refused = observer.call(InjectFault, "sim/inject_fault", fault="earthquake")
    assert not refused.success and "known: lost_commands" in refused.message


def test_objects_are_published_and_hidden_on_demand_while_the_world_runs(node, observer):
    observer.spin(lambda: observer.objects)
    message = observer.objects[-1]
    assert (message.source, message.header.frame_id) == ("sim", "fr3_link0")
    (cube,) = message.objects
    height_m = 0.821 - 0.912  # of the cube over the floor, and of the base; it falls a centimetre first
    assert cube.name == "cube" and cube.pose.pose.position.z == pytest.approx(height_m, abs=0.015)
    assert not any(cube.pose.covariance)
    set_parameters(observer, objects_hidden="cube", objects_noise_m=0.003)
    observer.spin(lambda: not observer.objects[-1].objects)
    set_parameters(observer, objects_hidden="")
    observer.spin(lambda: observer.objects[-1].objects)
    assert observer.objects[-1].objects[0].pose.covariance[0] == pytest.approx(9e-6)


def set_parameters(observer: Observer, **values: object) -> None:
    messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    answer = observer.call(SetParameters, "sim/set_parameters", parameters=messages)
    assert all(result.successful for result in answer.results), answer


def test_occupied_port_ends_the_node_with_one_clear_line(node, robot_address, ros_domain_id):
    second = start_node(robot_address, domain_id=ros_domain_id - 1)  # in the same one it is refused for its /clock
    output, _ = second.communicate(timeout=60.0)
    assert second.returncode == 1
    lines = [line for line in output.splitlines() if "FATAL" in line]
    assert len(lines) == 1
    assert f"on {robot_address} is in use by" in lines[0] and f"(process {node.pid})" in lines[0]
    assert "Traceback" not in output


def test_unknown_task_ends_the_node_with_the_known_ones(robot_address, ros_domain_id):
    output, _ = (process := start_node(robot_address, "task:=fold")).communicate(timeout=60.0)
    assert process.returncode == 1
    assert "unknown task 'fold'; known are lift, can, square, transport" in output and "Traceback" not in output


def test_each_robot_is_served_in_the_version_that_it_speaks(robot_address, observer):
    for robot, version in (("panda", 5), ("fr3", 10)):
        node = start_node(robot_address, f"robot:={robot}")
        lines = iter(node.stdout.readline, "")
        assert any(f"world 'lift' serves a {robot}, version {version}, on {robot_address}" in line for line in lines)
        node.send_signal(signal.SIGINT)
        node.stdout.read()
        assert node.wait(timeout=60.0) == 0


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (("robot:=fr3", "protocol:='5'"), "no fr3 speaks robot-server version 5; take version 10"),
        (("robot_address:=0.0.0.0",), "0.0.0.0 can be reached from other machines"),
        (("objects_seen_from:=attic",), "no camera 'attic' in this world; it has frontview"),
    ],
)
def test_a_robot_that_cannot_be_served_ends_the_node_with_one_line(robot_address, ros_domain_id, parameters, line):
    node = start_node(robot_address, *parameters)
    output, _ = node.communicate(timeout=60)
    fatal = [text for text in output.splitlines() if "FATAL" in text]
    assert node.returncode == 1 and len(fatal) == 1 and line in fatal[0], output
    assert "Traceback" not in output


def test_a_world_in_step_begins_no_episode_before_the_nodes_it_waits_for_are_there(robot_address, observer):
    process = start_node(
        robot_address,
        "stepping:=deterministic",
        f"world_address:={robot_address}",
        "waits_for:='a/camera'",
        "patience_s:=0.5",
    )
    try:
        observer.spin(lambda: observer.worlds)
        answer = observer.call(SetBool, "sim/set_pause", data=True)
        assert not answer.success and "nobody answers as a/camera yet (parameter waits_for)" in answer.message
        camera = Member("a/camera", robot_address)
        camera.join(DRAW)
        camera.say(DRAW)
        observer.spin(lambda: observer.worlds[-1].waits_given_up == 1)
        camera.close()
        steps = {b - a for a, b in zip(observer.clock_ns, observer.clock_ns[1:], strict=False)}
        assert min(steps) == 8_000_000
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0
    assert re.search(r"waited 0.5 s for a/camera \(the frame of [0-9.]+ s\); goes on without", output)


def test_a_world_in_step_pauses_where_tick_and_frame_meet_and_goes_on(robot_address, observer):
    process = start_node(robot_address, "stepping:=deterministic", f"world_address:={robot_address}")
    try:
        observer.spin(lambda: observer.worlds)
        assert observer.call(ResetWorld, "sim/reset_world", seed=3).success
        assert observer.call(SetBool, "sim/set_pause", data=True).success
        observer.spin_for(0.2)
        stood_ns = observer.clock_ns[-1]
        assert stood_ns % 200_000_000 == 0 and observer.worlds[-1].header.stamp.nanosec == stood_ns % 10**9
        observer.spin_for(0.2)
        assert observer.clock_ns[-1] == stood_ns
        assert observer.call(SetBool, "sim/set_pause", data=False).success
        observer.spin(lambda: observer.clock_ns[-1] > stood_ns)
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0 and "waited" not in output
