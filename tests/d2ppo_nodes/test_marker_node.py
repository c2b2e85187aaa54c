"""The marker node as a process: pictures in, object poses in the base frame out; what it does not see it names."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")

from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from d2ppo_core.geometry import inverse, rotation_of, transform_from  # noqa: E402
from d2ppo_core.runtime.perception.markers import load_markers  # noqa: E402
from d2ppo_interfaces.msg import ArmState, ObjectPoses  # noqa: E402
from d2ppo_nodes.convert import image_msg, pose_msg, sightings_of, time_msg  # noqa: E402
from d2ppo_nodes.qos import SENSOR, STREAM  # noqa: E402
from sim.rendering.offscreen import OffscreenRenderer  # noqa: E402
from sim.tasks import TASKS  # noqa: E402
from sim.world.marked import camera_mount, marked_model  # noqa: E402
from sim.world.sight import Flaws, ObjectSight  # noqa: E402
from sim.world.world import World  # noqa: E402

NAMESPACE = "/test_marker"
FRAME = "fr3_link0"
WIDTH, HEIGHT = 640, 480


def start_node(*parameters: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "d2ppo_nodes.marker_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Stage:
    """Plays the camera and the arm of a world at rest, and hears what the node makes of it."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        self.context.init(domain_id=domain_id)
        self.node = rclpy.create_node("stage", namespace=NAMESPACE, context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: list[ObjectPoses] = []
        self.node.create_subscription(ObjectPoses, "perception/objects", self.heard.append, SENSOR)
        self.images = self.node.create_publisher(Image, "camera/scene/color/image_raw", STREAM)
        self.infos = self.node.create_publisher(CameraInfo, "camera/scene/color/camera_info", STREAM)
        self.arms = self.node.create_publisher(ArmState, "arm/state", STREAM)
        self.world = World(TASKS["lift"], seed=4)
        for _ in range(300):
            self.world.step(np.zeros(7))
        sight = ObjectSight(self.world)
        sight.look(Flaws())
        self.truth = sight.due()[0].poses["cube"]
        self.picture, self.K = self._draw()

    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        model = marked_model(self.world.task, load_markers("sim_cube"))
        data = mujoco.MjData(model)
        data.qpos[:] = self.world.data.qpos
        mujoco.mj_forward(model, data)
        with OffscreenRenderer(model, WIDTH, HEIGHT) as renderer:
            picture = renderer.render(data, "agentview")
        focal_px = HEIGHT / 2 / np.tan(np.radians(model.camera("agentview").fovy[0]) / 2)
        return picture, np.array([[focal_px, 0, (WIDTH - 1) / 2], [0, focal_px, (HEIGHT - 1) / 2], [0, 0, 1]])

    def show(self, picture: np.ndarray, hand: np.ndarray | None = None) -> int:
        stamp_ns = self.node.get_clock().now().nanoseconds
        state = ArmState(state=ArmState.READY, robot_time_ms=1)
        state.header.stamp, state.header.frame_id = time_msg(stamp_ns), FRAME
        state.pose = pose_msg(np.eye(4) if hand is None else hand)
        self.arms.publish(state)
        info = CameraInfo(width=WIDTH, height=HEIGHT, k=self.K.ravel(), d=[0.0] * 5)
        info.header.stamp = time_msg(stamp_ns)
        self.infos.publish(info)
        self.images.publish(image_msg(picture, stamp_ns, "scene_color_optical_frame"))
        return stamp_ns

    def show_until(self, done, picture: np.ndarray, timeout_s: float = 40.0, **what) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, self.heard[-3:]
            self.show(picture, **what)
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def stage(ros_domain_id: int) -> Iterator[Stage]:
    stage = Stage(ros_domain_id)
    yield stage
    stage.close()


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0 and "Traceback" not in output, output
    return output


def test_a_marked_cube_is_reported_where_it_is_and_named_when_its_markers_are_covered(stage):
    process = start_node("task:=lift")
    covered = stage.picture.copy()
    covered[:, WIDTH // 2 - 12 :] = 128
    try:
        stage.show_until(lambda: any(message.objects for message in stage.heard), stage.picture)
        message = next(message for message in stage.heard if message.objects)
        assert message.source == "markers of scene" and message.header.frame_id == FRAME
        ((name, pose),) = sightings_of(message, FRAME).poses.items()
        off = inverse(stage.truth) @ pose
        assert name == "cube" and np.linalg.norm(off[:3, 3]) < 0.003, off
        assert np.degrees(np.arccos((np.trace(off[:3, :3]) - 1) / 2)) < 2.0
        covariance = np.reshape(message.objects[0].pose.covariance, (6, 6))
        assert 0.0 < np.trace(covariance[:3, :3]) < 0.003**2
        stage.show_until(lambda: not stage.heard[-1].objects, covered)
        stage.show_until(lambda: stage.heard[-1].objects, stage.picture)
    finally:
        output = ended(process)
    assert "object cube is not reported: no marker of it (0, 1, 2, 3, 4) is wholly in sight" in output
    assert "object cube is in sight again" in output


def test_a_camera_on_the_hand_sees_from_where_the_hand_is(stage):
    hand = transform_from([0.4, 0.1, 0.3], Rotation.from_euler("xyz", [3.0, 0.2, 0.5]))
    on_hand = inverse(hand) @ camera_mount(stage.world.task, "scene").pose
    numbers = [*on_hand[:3, 3], *rotation_of(on_hand).as_quat()]
    process = start_node(f"camera_pose:=[{', '.join(f'{x:.9f}' for x in numbers)}]", "mounted_on:=hand")
    try:
        stage.show_until(lambda: any(message.objects for message in stage.heard), stage.picture, hand=hand)
    finally:
        ended(process)
    message = next(message for message in stage.heard if message.objects)
    pose = sightings_of(message, FRAME).poses["cube"]
    np.testing.assert_allclose(pose[:3, 3], stage.truth[:3, 3], atol=0.003)


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (("markers:=attic", "task:=lift"), "there is no marker 'attic'; known: sim_cube"),
        ((), "parameter camera_pose must say where the camera is"),
        (("camera_pose:=[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0]",), "wanted a unit quaternion"),
    ],
)
def test_what_is_wrong_at_the_start_ends_the_node_with_one_line(ros_domain_id, parameters, line):
    process = start_node(*parameters)
    output, _ = process.communicate(timeout=60.0)
    fatal = [text for text in output.splitlines() if "FATAL" in text]
    assert process.returncode == 1 and len(fatal) == 1 and line in fatal[0] and "Traceback" not in output, output


def test_two_objects_of_one_name_end_the_node_with_one_line(ros_domain_id, tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(
        "objects:\n"
        "  - {name: cube, markers: [{id: 0, size_m: 0.03, object_m: [0, 0, -0.02]}]}\n"
        "  - {name: cube, markers: [{id: 1, size_m: 0.03, object_m: [0, 0, -0.02]}]}\n"
    )
    process = start_node(f"markers:={path}", "task:=lift")
    output, _ = process.communicate(timeout=60.0)
    fatal = [text for text in output.splitlines() if "FATAL" in text]
    assert process.returncode == 1 and len(fatal) == 1
    assert f"{path}: objects: object cube is there twice; each stands for one thing" in fatal[0]
