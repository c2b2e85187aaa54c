"""The policy node of two arms: one inference, a chunk for each arm, none where one of them says nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from d2ppo_core.bundle import find_bundle, load_bundle  # noqa: E402
from d2ppo_interfaces.msg import ActionChunk, ArmState, ChunkVerdict, ObjectPose, ObjectPoses, PolicyStatus  # noqa: E402
from d2ppo_interfaces.srv import LoadPolicy  # noqa: E402
from d2ppo_nodes.convert import time_msg, time_ns  # noqa: E402
from d2ppo_nodes.qos import EVERY, LATCHED, NEWEST, SENSOR  # noqa: E402

ARMS, EPOCHS = ("left", "right"), {"left": 3, "right": 5}
OBJECTS = ("hammer", "trash", "lid", "target_bin", "trash_bin")
START_S = 40.0


def start_node(*parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.policy_node", "--ros-args", "-r", "__ns:=/pair"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Peer:
    """Plays both arms and perception, and hears what the policy says to each."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        self.context.init(domain_id=domain_id)
        self.node = rclpy.create_node("peer", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.chunks: dict[str, list[ActionChunk]] = {name: [] for name in ARMS}
        self.status = PolicyStatus()
        self.arms = {name: self.node.create_publisher(ArmState, f"/{name}/arm/state", SENSOR) for name in ARMS}
        self.objects = self.node.create_publisher(ObjectPoses, "/pair/perception/objects", SENSOR)
        for name in ARMS:
            self.node.create_subscription(ActionChunk, f"/{name}/policy/chunk", self.chunks[name].append, NEWEST)
        self.node.create_subscription(PolicyStatus, "/pair/policy/status", self._hear, LATCHED)
        self.verdicts = self.node.create_publisher(ChunkVerdict, "/right/arm/verdict", EVERY)
        self.load = self.node.create_client(LoadPolicy, "/pair/policy/load")

    def _hear(self, status: PolicyStatus) -> None:
        self.status = status

    def spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.executor.spin_once(timeout_sec=0.01)

    def observe(self, *arms: str) -> None:
        """Tell where the objects are, then the state of these arms, all of one time."""
        stamp = time_msg(self.node.get_clock().now().nanoseconds)
        message = ObjectPoses(source="sim", objects=[ObjectPose(name=name) for name in OBJECTS])
        message.header.stamp, message.header.frame_id = stamp, "left_fr3_link0"
        self.objects.publish(message)
        self.spin(0.01)
        for name in arms:
            state = ArmState(state=ArmState.RUNNING, epoch=EPOCHS[name], robot_time_ms=1, gripper_width_m=0.04)
            state.header.stamp, state.header.frame_id = stamp, f"{name}_fr3_link0"
            for pose in (state.pose, state.reference_pose):
                pose.position.x, pose.position.z, pose.orientation.x, pose.orientation.w = 0.47, 0.11, 1.0, 0.0
            self.arms[name].publish(state)
        self.spin(0.04)

    def observe_until(self, done: Callable[[], object], *arms: str) -> None:
        deadline = time.monotonic() + START_S
        while not done():
            assert time.monotonic() < deadline, f"status {self.status}"
            self.observe(*arms)

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


def test_each_arm_gets_its_chunk_of_the_plan_and_none_when_one_is_missing(peer: Peer, pair_bundle: Path) -> None:
    process = start_node(f"bundle:={pair_bundle}", "task:=transport", "robot:=fr3", "arms:=left,right")
    try:
        peer.observe_until(lambda: "no state from arm right yet" in peer.status.reason, "left")
        assert peer.status.state == PolicyStatus.STARVED and not any(peer.chunks.values())
        peer.observe_until(lambda: all(len(chunks) >= 3 for chunks in peer.chunks.values()), *ARMS)
        for left, right in zip(*peer.chunks.values(), strict=False):
            assert (left.header.stamp, left.sequence, left.source) == (right.header.stamp, right.sequence, right.source)
            assert list(left.epochs) == list(right.epochs) == [3, 5] and (left.epoch, right.epoch) == (3, 5)
            assert [c.header.frame_id for c in (left, right)] == ["left_fr3_link0", "right_fr3_link0"]
            assert left.bundle_hash == right.bundle_hash == load_bundle(pair_bundle).hash
            assert len(left.poses) == len(right.poses) == 1 + 8 + 8
        peer.observe_until(lambda: "arm right" in peer.status.reason, "left")
        count = {name: len(chunks) for name, chunks in peer.chunks.items()}
        for _ in range(10):
            peer.observe("left")
        assert {name: len(chunks) for name, chunks in peer.chunks.items()} == count
        refused = peer.swap(find_bundle("lift_state"))
        assert not refused.success and "moves one arm, the stack 2 arms" in refused.message
        peer.observe_until(lambda: all(len(peer.chunks[name]) > count[name] for name in ARMS), *ARMS)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0 and "Traceback" not in output
    assert "no chunk: " in output and "arm right" in output


def test_a_plan_that_one_arm_refuses_is_made_anew_before_it_is_due(peer: Peer, pair_bundle: Path) -> None:
    process = start_node(f"bundle:={pair_bundle}", "arms:=left,right", "replan_ticks:=64")
    try:
        peer.observe_until(lambda: peer.chunks["left"], *ARMS)
        first = peer.chunks["left"][-1]
        aside = ChunkVerdict(sequence=first.sequence, follows=True)
        refusal = ChunkVerdict(sequence=first.sequence, follows=False, reason="expired")
        peer.verdicts.publish(aside)
        for _ in range(5):
            peer.observe(*ARMS)
        assert len(peer.chunks["left"]) == 1, "the next one is due in three seconds"
        peer.verdicts.publish(refusal)
        peer.observe_until(lambda: len(peer.chunks["left"]) == len(peer.chunks["right"]) == 2, *ARMS)
        again = peer.chunks["left"][-1]
        assert again.sequence == first.sequence + 1
        assert time_ns(again.header.stamp) - time_ns(first.header.stamp) < 3_000_000_000
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60.0)


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (["bundle:=lift_image", "arms:=left,right"], "bundle lift_image moves one arm, the stack 2 arms"),
        (["bundle:=lift_image", "arms:=left,right", "force:=true"], "moves one arm, the stack 2 arms"),
        (["bundle:={pair}"], "bundle wander moves 2 arms, the stack one arm"),
        (["task:=lift", "arms:=left,right"], "task lift has one arm, this stack's policy moves 2"),
        (["task:=transport", "arms:=left,right"], "task transport has no policy yet; name one with bundle:=..."),
        (["bundle:={pair}", "arms:=left,right", "base_frame:=world"], "parameter base_frame is for one arm"),
        (["arms:=left,left"], "parameter arms must name namespaces, as left,right; got left,left"),
        (
            ["bundle:={pair}", "arms:=left,right", "cell:=sim_transport_left"],
            "parameter cell must name the cell of each of left, right, got sim_transport_left",
        ),
        (
            ["bundle:={pair}", "arms:=right,left", "cell:=sim_transport_right,sim_transport_left"],
            "has its base at (0, -0.81, 0.912) m, 90° in the world (T_world_base), the cell sim_transport_right",
        ),
    ],
)
def test_what_does_not_fit_two_arms_ends_the_node_with_one_line(
    ros_domain_id: int, pair_bundle: Path, parameters: list[str], line: str
) -> None:
    process = start_node(*(parameter.format(pair=pair_bundle) for parameter in parameters))
    output, _ = process.communicate(timeout=START_S)
    fatal = [text for text in output.splitlines() if "FATAL" in text]
    assert process.returncode == 1 and len(fatal) == 1 and line in fatal[0] and "Traceback" not in output
