"""The policy node as a process: chunks from a real bundle, hot swap refused or done, no chunk without observations."""

import hashlib
import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from d2ppo_core.bundle import find_bundle, load_bundle  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, ArmState, ObjectPose, ObjectPoses, PolicyStatus  # noqa: E402
from d2ppo_interfaces.srv import LoadPolicy  # noqa: E402
from d2ppo_nodes.convert import image_msg, time_msg, time_ns  # noqa: E402
from d2ppo_nodes.qos import LATCHED, NEWEST, SENSOR  # noqa: E402

NAMESPACE = "/test_policy"
START_S = 40.0


def start_node(*parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.policy_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Peer:
    """Plays camera and arm, and hears what the policy says."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        self.context.init(domain_id=domain_id)
        self.node = rclpy.create_node("peer", namespace=NAMESPACE, context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.chunks: list[ActionChunk] = []
        self.status: PolicyStatus | None = None
        self.node.create_subscription(ActionChunk, "policy/chunk", self.chunks.append, NEWEST)
        self.node.create_subscription(PolicyStatus, "policy/status", self._hear, LATCHED)
        self.images = self.node.create_publisher(Image, "camera/robot0_eye_in_hand/policy/image_raw", SENSOR)
        self.arm = self.node.create_publisher(ArmState, "arm/state", SENSOR)
        self.objects = self.node.create_publisher(ObjectPoses, "perception/objects", SENSOR)
        self.load = self.node.create_client(LoadPolicy, "policy/load")

    def _hear(self, status: PolicyStatus) -> None:
        self.status = status

    def spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.executor.spin_once(timeout_sec=0.02)

    def observe(self, *, picture: bool = True, arm: bool = True, stamp_ns: int = 0, state: int = ArmState.READY) -> int:
        """Publish one observation; returns its stamp."""
        stamp_ns = stamp_ns or self.node.get_clock().now().nanoseconds
        if arm:
            state = ArmState(state=state, epoch=7, robot_time_ms=1, gripper_width_m=0.04)
            state.header.stamp, state.header.frame_id = time_msg(stamp_ns), "left_fr3_link0"
            for pose in (state.pose, state.reference_pose):
                pose.position.x, pose.position.z, pose.orientation.x, pose.orientation.w = 0.46, 0.09, 1.0, 0.0
            self.arm.publish(state)
            self.spin(0.01)
        if picture:
            image = np.full((96, 96, 3), 200, np.uint8)
            self.images.publish(image_msg(image, stamp_ns, "wrist"))
        return stamp_ns

    def perceive(
        self, *names: str, source: str = "sim", frame_id: str = "left_fr3_link0", picture: bool = False
    ) -> None:
        """Publish the arm's state and where objects of these names are."""
        message = ObjectPoses(source=source, objects=[ObjectPose(name=name) for name in names])
        for thing in message.objects:
            position = thing.pose.pose.position
            position.x, position.z = 0.55, -0.09
        message.header.stamp, message.header.frame_id = time_msg(self.observe(picture=picture)), frame_id
        self.objects.publish(message)

    def perceive_until(self, done, *names: str, timeout_s: float = START_S, **what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"status {self.status}"
            self.perceive(*names, **what)
            self.spin(0.05)

    def observe_until(self, done, timeout_s: float = START_S, **what: bool) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"status {self.status}"
            self.observe(**what)
            self.spin(0.05)

    def swap(self, bundle: Path) -> LoadPolicy.Response:
        future = self.load.call_async(LoadPolicy.Request(bundle_path=str(bundle)))
        self.executor.spin_until_future_complete(future, timeout_sec=20.0)
        return future.result()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def peer(ros_domain_id: int) -> Iterator[Peer]:
    peer = Peer(ros_domain_id)
    yield peer
    peer.close()


@pytest.fixture
def node(ros_domain_id: int) -> Iterator[subprocess.Popen[str]]:
    process = start_node("bundle:=lift_image")
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60.0) == 0


def test_chunks_carry_what_the_arm_needs_to_trust_them(node, peer):
    peer.observe_until(lambda: len(peer.chunks) >= 3)
    first, chunk = peer.chunks[0], peer.chunks[-1]
    assert chunk.epoch == 7 and chunk.bundle_hash == load_bundle("lift_image").hash
    assert chunk.sequence == first.sequence + len(peer.chunks) - 1
    assert chunk.header.frame_id == "left_fr3_link0" and chunk.dt_s == pytest.approx(0.05)
    assert len(chunk.poses) == len(chunk.twists) == len(chunk.gripper_width_m) == 1 + 4 + 8
    start = chunk.poses[0].position
    assert (start.x, start.y, start.z) == pytest.approx((0.46, 0.0, 0.09), abs=1e-9)
    stamps = [s.sec * 10**9 + s.nanosec for s in (chunk.header.stamp, chunk.received, chunk.inference_start)]
    stamps += [s.sec * 10**9 + s.nanosec for s in (chunk.inference_end, chunk.published)]
    assert stamps == sorted(stamps)
    assert 0.0 < chunk.inference_wall_s < 1.0


def test_in_simulation_too_the_ledger_holds_durations_although_the_clock_stands_still_in_a_callback(peer):
    process = start_node("bundle:=lift_image", "use_sim_time:=true")
    clock = peer.node.create_publisher(Clock, "/clock", NEWEST)
    began_s, pace = time.monotonic(), 0.5
    sim_ns = lambda: int((time.monotonic() - began_s) * pace * 1e9) + 10**9  # noqa: E731

    def observe() -> bool:
        clock.publish(Clock(clock=time_msg(sim_ns())))
        peer.spin(0.02)
        peer.observe(stamp_ns=sim_ns() - 30_000_000)
        peer.spin(0.02)
        return len(peer.chunks) >= 25

    try:
        deadline = time.monotonic() + START_S
        while not observe():
            assert time.monotonic() < deadline
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60.0) == 0
    paces = []
    for chunk in peer.chunks[10:]:
        stamps = (chunk.header.stamp, chunk.received, chunk.inference_start, chunk.inference_end, chunk.published)
        at_ns = [time_ns(stamp) for stamp in stamps]
        assert all(b > a for a, b in itertools.pairwise(at_ns)), at_ns
        paces.append((at_ns[3] - at_ns[2]) * 1e-9 / chunk.inference_wall_s)
    assert 0.7 * pace < np.median(paces) < 20.0 * pace, "planning takes a little longer than the inference alone"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("golden.npz", b"x" * 100, "cannot read golden.npz of bundle damaged"),
        ("policy.onnx", b"x" * 100, "ONNX Runtime cannot open bundle"),
        ("manifest.yaml", b"format_version: 1\nname: [x]\n", "manifest of bundle damaged is incomplete"),
    ],
)
def test_garbage_under_right_checksums_is_refused_and_the_running_policy_goes_on(
    node, peer, tmp_path, file, content, reason
):
    peer.observe_until(lambda: peer.chunks)
    damaged = tmp_path / "damaged"
    shutil.copytree(find_bundle("lift_image"), damaged)
    (damaged / file).write_bytes(content)
    sums = yaml.safe_load((damaged / "checksums.yaml").read_text())
    sums[file] = hashlib.sha256(content).hexdigest()
    (damaged / "checksums.yaml").write_text(yaml.safe_dump(sums))
    answer = peer.swap(damaged)
    assert not answer.success and reason in answer.message
    assert answer.bundle_hash == load_bundle("lift_image").hash
    count = len(peer.chunks)
    peer.observe_until(lambda: len(peer.chunks) > count + 1)


def test_before_somebody_starts_the_arm_a_missing_observation_is_in_the_status_and_not_in_the_log(peer):
    process = start_node("bundle:=lift_image")
    try:
        starved = "no image from camera robot0_eye_in_hand"
        peer.observe_until(lambda: peer.status and starved in peer.status.reason, picture=False)
        peer.spin(1.5)
        started_s = time.time()
        for _ in range(20):
            peer.observe(picture=False, state=ArmState.RUNNING)
            peer.spin(0.05)
        peer.spin(1.0)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60.0)
    logged_s = [float(at_s) for at_s in re.findall(r"\[([0-9.]+)\] \[test_policy.policy\]: no chunk:", output)]
    assert logged_s and min(logged_s) > started_s, output


def test_without_an_arm_or_a_picture_nothing_is_sent_and_the_missing_one_is_named(node, peer):
    peer.observe_until(lambda: peer.status and "no state from the arm" in peer.status.reason, arm=False)
    assert peer.status.state == PolicyStatus.STARVED
    peer.observe_until(lambda: "no image from camera robot0_eye_in_hand" in peer.status.reason or peer.chunks)
    peer.observe_until(lambda: peer.chunks)
    peer.observe_until(lambda: "camera robot0_eye_in_hand stopped" in peer.status.reason, picture=False)
    count = len(peer.chunks)
    for _ in range(10):
        peer.observe(picture=False)
        peer.spin(0.05)
    assert len(peer.chunks) == count


def test_pictures_that_it_cannot_use_are_named_and_what_it_used_is_told(peer):
    told: list[DiagnosticArray] = []
    peer.node.create_subscription(DiagnosticArray, "/diagnostics", told.append, SENSOR)
    process = start_node("bundle:=lift_image")
    try:
        peer.observe_until(lambda: peer.chunks and told and told[-1].status[0].values)
        for change in ({"encoding": "bgr8"}, {"width": 48}):
            image = image_msg(np.zeros((96, 96, 3), np.uint8), peer.node.get_clock().now().nanoseconds, "wrist")
            for name, value in change.items():
                setattr(image, name, value)
            peer.images.publish(image)
            peer.spin(1.1)
        peer.images.publish(image_msg(np.zeros((48, 64, 3), np.uint8), time.time_ns(), "wrist"))
        peer.spin(0.5)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60.0)
    dropped = "image of camera robot0_eye_in_hand dropped: "
    assert f"{dropped}image encoding must be rgb8, got bgr8" in output
    assert f"{dropped}an image of 48x96, rows of 288 bytes cannot hold 27648 bytes of rgb8 without gaps" in output
    assert f"{dropped}camera robot0_eye_in_hand delivers (48, 64, 3), the bundle wants (96, 96, 3)" in output
    camera, arm = (value.value for value in told[-1].status[0].values)
    assert arm.startswith("the arm exact, age ") and "skew +0.0 ms" in camera


def test_a_damaged_bundle_is_refused_and_the_running_one_goes_on(node, peer, tmp_path):
    peer.observe_until(lambda: peer.chunks)
    damaged = tmp_path / "damaged"
    shutil.copytree(find_bundle("lift_image"), damaged)
    (damaged / "golden.npz").write_bytes(b"nothing")
    answer = peer.swap(damaged)
    assert not answer.success and "checksum mismatch in bundle damaged: golden.npz" in answer.message
    assert answer.bundle_hash == load_bundle("lift_image").hash
    count = len(peer.chunks)
    peer.observe_until(lambda: len(peer.chunks) > count)


def test_another_bundle_takes_over(node, peer, tmp_path):
    peer.observe_until(lambda: peer.chunks)
    shutil.copytree(find_bundle("lift_image"), tmp_path / "again")
    answer = peer.swap(tmp_path / "again")
    assert answer.success, answer.message
    count = len(peer.chunks)
    peer.observe_until(lambda: len(peer.chunks) > count)


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("bundle:=nowhere", "no bundle at 'nowhere'; give a bundle folder or one of"),
        ("max_lead_m:=5.0", "parameter max_lead_m must be a number in [0.001, 0.1], got 5.0"),
        ("device:=abacus", "device must be one of"),
    ],
)
def test_what_is_wrong_at_the_start_ends_the_node_with_one_line(ros_domain_id, parameter, line):
    process = start_node(parameter)
    output, _ = process.communicate(timeout=START_S)
    assert process.returncode == 1
    fatal = [text for text in output.splitlines() if "FATAL" in text]
    assert len(fatal) == 1 and line in fatal[0]
    assert "Traceback" not in output


@pytest.mark.parametrize("forced", [False, True])
def test_a_bundle_of_another_task_is_refused_at_configure_unless_forced(ros_domain_id, forced):
    process = start_node("bundle:=lift_image", "task:=can", "robot:=fr3", *(["force:=true"] if forced else []))
    if forced:
        time.sleep(8.0)
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60.0)
    said = [line for line in output.splitlines() if "is of task lift, the stack of can" in line]
    assert len(said) == 1 and "cell sim_can_fr3 at (-0.5, -0.1, 0.912) m" in said[0] and "Traceback" not in output
    assert ("forced to run it all the same" in said[0]) == forced and process.returncode == (0 if forced else 1)


def test_a_state_policy_lives_on_perceived_objects_and_names_the_one_that_it_cannot_see(peer):
    process = start_node("bundle:=lift_state")
    reason = lambda: peer.status.reason if peer.status else ""  # noqa: E731
    try:
        peer.perceive_until(lambda: "object cube was not seen yet" in reason(), "tray")
        assert peer.status.state == PolicyStatus.STARVED and not peer.chunks
        peer.perceive_until(lambda: len(peer.chunks) >= 2, "cube", "tray")
        chunk = peer.chunks[-1]
        assert chunk.bundle_hash == load_bundle("lift_state").hash and len(chunk.poses) == 1 + 4 + 8
        assert time_ns(chunk.header.stamp) <= time_ns(chunk.received) < time_ns(chunk.published)
        peer.perceive_until(lambda: "object cube is out of sight: last seen" in reason(), "tray")
        count = len(peer.chunks)
        for what in ({"source": "twice"}, {"source": "afar", "frame_id": "camera"}):
            for _ in range(5):
                peer.perceive("cube", *(["cube"] if what["source"] == "twice" else []), **what)
                peer.spin(0.05)
            peer.spin(1.0)  # in the log they are throttled
        assert len(peer.chunks) == count
        peer.perceive_until(lambda: len(peer.chunks) > count, "cube")
        two = lambda: peer.perceive("cube") or "cube is reported by markers and by sim" in reason()  # noqa: E731
        peer.perceive_until(two, "cube", source="markers")
        assert peer.swap(find_bundle("lift_image")).success
        count = len(peer.chunks)
        peer.observe_until(lambda: len(peer.chunks) > count)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60.0)
    assert "objects of 'twice' dropped: object cube is there twice" in output
    assert "objects of 'afar' dropped: they are in frame 'camera', the arm in 'left_fr3_link0'" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("task:=transport", "task transport has 2 arms, this stack's policy moves one"),
        ("task:=juggling", "unknown task 'juggling'; known are lift, can, square, transport"),
    ],
)
def test_a_task_that_one_arm_cannot_do_or_nobody_knows_is_one_line(ros_domain_id, parameter, message):
    output, _ = (process := start_node(parameter)).communicate(timeout=60.0)
    assert process.returncode == 1 and message in output and "Traceback" not in output
