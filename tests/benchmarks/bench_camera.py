"""Question: does a 640x480 camera at 30 Hz get through its node whole, how late, and how soon is it back after a cut?

The camera node in a process of its own, on librealsense's software device instead of a USB one, fed at 30 Hz in that
process; this process listens to both pictures. Then the device is unplugged for 2 s and plugged in again, five times:
from there to the first picture of the policy that is published. Budget: 0 lost, back within 2 s.

    python tests/benchmarks/bench_camera.py [--seconds 60] [--out file.json]
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/d2ppo_core/drivers")]
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "d2ppo_core/stack/fastdds.xml"))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
BACK_S, UNPLUGS, GONE_S = 2.0, 5, 2.0
TOPICS = "color/image_raw", "policy/image_raw"


def run_node(seconds: int) -> None:
    """Camera and node; prints what it sent as JSON."""
    import rclpy
    from software_camera import SoftwareCamera

    from d2ppo_core.drivers import realsense
    from d2ppo_nodes.camera_node import CameraNode

    software, published = SoftwareCamera(), []
    realsense._device_on_usb = software.find
    rclpy.init(args=["--ros-args", "-p", "driver:=realsense", "-p", "bundle:=lift_image"])
    node = CameraNode()
    node.trigger_configure()
    send = node._topics.publish

    def timed(image, stamp_ns, *, awaited):
        send(image, stamp_ns, awaited=awaited)
        published.append((stamp_ns, time.time_ns()))

    node._topics.publish = timed
    node.trigger_activate()
    while any(node.count_subscribers(f"camera/wrist/{topic}") == 0 for topic in TOPICS):
        time.sleep(0.1)
    time.sleep(1.0)
    late_ms = stream(software, 30 * seconds)
    time.sleep(0.5)
    delays_ms = np.array([(sent_ns - stamp_ns) * 1e-6 for stamp_ns, sent_ns in published])
    first = {"stamps": [stamp_ns for stamp_ns, _ in published]}
    result: dict = {"pushed": 30 * seconds, "published": len(published), "pushed_late_ms_max": late_ms}
    result |= {f"delay_ms_p{q}": float(np.percentile(delays_ms, q)) for q in (50, 99, 100)}
    result["back_s"] = [unplug(software, published) for _ in range(UNPLUGS)]
    node.trigger_shutdown()
    print(json.dumps(result | first))


def stream(software, count: int) -> float:
    """Deliver frames at 30 Hz; returns by how much the latest one was late, ms."""
    late_s, next_s = 0.0, time.monotonic()
    for number in range(count):
        late_s = max(late_s, time.monotonic() - next_s)
        software.push(time.time_ns() * 1e-6, number)
        next_s += 1.0 / 30.0
        time.sleep(max(0.0, next_s - time.monotonic()))
    return late_s * 1e3


def unplug(software, published) -> float:
    """Seconds from plugging in to the first picture."""
    software.unplug()
    time.sleep(GONE_S)
    software.plug()
    count, back_s = len(published), time.monotonic()
    pusher = threading.Thread(target=stream, args=(software, 90))
    pusher.start()
    while len(published) == count and time.monotonic() < back_s + 10.0:
        time.sleep(0.002)
    took_s = time.monotonic() - back_s
    pusher.join()
    return took_s


def listen(done) -> dict[str, set[int]]:
    """Stamps that arrived, by topic, until the node's process has ended."""
    import rclpy
    from sensor_msgs.msg import Image

    from d2ppo_nodes.convert import time_ns
    from d2ppo_nodes.qos import SENSOR

    rclpy.init()
    node, stamps = rclpy.create_node("listener"), {topic: set() for topic in TOPICS}
    for topic, seen in stamps.items():
        node.create_subscription(
            Image, f"camera/wrist/{topic}", lambda message, seen=seen: seen.add(time_ns(message.header.stamp)), SENSOR
        )
    while not done():
        rclpy.spin_once(node, timeout_sec=0.1)
    rclpy.shutdown()
    return stamps


def main() -> None:
    """Run both processes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--node", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        run_node(options.seconds)
        return
    command = [sys.executable, __file__, "--node", "--seconds", str(options.seconds)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stamps = listen(lambda: child.poll() is not None)
    output = child.communicate()[0]
    result = json.loads(output.splitlines()[-1])
    sent = set(result.pop("stamps"))
    result["lost"] = {topic: len(sent - seen) for topic, seen in stamps.items()}
    print(f"640x480 at 30 Hz for {options.seconds} s: {result['pushed']} frames, {result['published']} published")
    lost = ", ".join(f"{count} of {topic}" for topic, count in result["lost"].items())
    print(f"  lost: {result['pushed'] - result['published']} on the way to the node, {lost} on the way from it")
    print(
        "  stamp -> published, ms: p50 {delay_ms_p50:.2f}, p99 {delay_ms_p99:.2f}, max {delay_ms_p100:.2f}".format(
            **result
        )
    )
    print("  back after, s: " + ", ".join(f"{value:.2f}" for value in result["back_s"]) + f" (budget {BACK_S:g})")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
