"""Does a recorder keep up with two cameras of 640 x 480 at 30 Hz and an arm at 125 Hz, and what do kills cost?

`python tests/benchmarks/bench_recorder.py --folder FOLDER [--seconds 60] [--kills 20]`: publishers and recorder are
processes of their own in real DDS. First one episode of so many seconds: pictures and states that are missing in the
file, and the recorder's memory. Then, without ROS, writers of short episodes that are killed at random moments:
finished ones that are lost. Prints JSON.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from d2ppo_core.runtime.recording.episode import Outcome, cut_off, finished
from d2ppo_core.runtime.recording.mcap_file import messages_in
from d2ppo_core.runtime.recording.raw import Channel, RawMessage
from d2ppo_core.runtime.recording.saved import save_all
from d2ppo_core.runtime.recording.session import Limits, Session
from d2ppo_interfaces.msg import ArmState, RecordStatus
from d2ppo_nodes.convert import image_msg, time_msg
from d2ppo_nodes.qos import LATCHED, STREAM

SPACE = "/bench_recorder"
CAMERA_HZ, STATE_HZ = 30.0, 125.0


def publish() -> None:
    """Play two cameras and an arm until the end; stamps count in whole periods, so that a gap is seen."""
    rclpy.init()
    node = rclpy.create_node("studio", namespace=SPACE)
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    noise[:, 200:] = 90  # a real picture compresses a little
    sources: list[tuple[Any, float, Any]] = []
    for camera in ("wrist", "scene"):
        publisher = node.create_publisher(Image, f"camera/{camera}/color/image_raw", STREAM)
        sources.append((publisher, 1.0 / CAMERA_HZ, image_msg(noise, 0, camera)))
    state = ArmState(state=ArmState.READY, robot_time_ms=1)
    state.header.frame_id = "fr3_link0"
    sources.append((node.create_publisher(ArmState, "arm/state", STREAM), 1.0 / STATE_HZ, state))
    due, count = [time.monotonic()] * 3, [0] * 3
    while True:
        for index, (publisher, period_s, message) in enumerate(sources):
            if time.monotonic() >= due[index]:
                count[index] += 1
                message.header.stamp = time_msg(count[index] * round(period_s * 1e9))
                publisher.publish(message)
                due[index] += period_s
        time.sleep(max(0.0, min(due) - time.monotonic()))


def start_recorder(folder: Path) -> subprocess.Popen[bytes]:
    """Start one."""
    command = [sys.executable, "-m", "d2ppo_nodes.recorder_node", "--ros-args", "-r", f"__ns:={SPACE}"]
    parameters = [part for one in (f"folder:={folder}", "min_free_mib:=200") for part in ("-p", one)]
    return subprocess.Popen([*command, *parameters], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Operator:
    """Calls the recorder's services."""

    def __init__(self) -> None:
        """Join."""
        rclpy.init()
        self.node = rclpy.create_node("bench", namespace=SPACE)
        self.status: list[RecordStatus] = []
        self.node.create_subscription(RecordStatus, "record/status", self.status.append, LATCHED)

    def call(self, name: str) -> str:
        """Call until it is done, for a node needs a moment."""
        client = self.node.create_client(Trigger, f"record/{name}")
        client.wait_for_service(timeout_sec=30.0)
        for _ in range(40):
            future = client.call_async(Trigger.Request())
            rclpy.spin_until_future_complete(self.node, future, timeout_sec=5.0)
            answer = future.result()
            if answer is not None and answer.success:
                break
            time.sleep(0.25)
        self.node.destroy_client(client)
        return answer.message if answer is not None else "no answer"


def missing(path: Path) -> dict[str, dict[str, int]]:
    """Messages and gaps of each topic, by their stamps."""
    stamps: dict[str, list[int]] = {}
    for message in messages_in(path):
        stamps.setdefault(message.channel.topic, []).append(message.stamp_ns)
    periods = {topic: round(1e9 / (STATE_HZ if topic == "arm/state" else CAMERA_HZ)) for topic in stamps}
    counts = {topic: [stamp // periods[topic] for stamp in found] for topic, found in stamps.items()}
    return {
        topic: {"messages": len(found), "missing": found[-1] - found[0] + 1 - len(set(found))}
        for topic, found in counts.items()
    }


def long_episode(operator: Operator, folder: Path, seconds: float) -> dict[str, Any]:
    """Record for so long and count what is missing."""
    recorder = start_recorder(folder)
    process, began = psutil.Process(recorder.pid), operator.call("start")
    memory_mib, until_s = [], time.monotonic() + seconds
    process.cpu_percent()
    while time.monotonic() < until_s:
        time.sleep(1.0)
        memory_mib.append(process.memory_info().rss / 2**20)
    cpu_percent, ended = process.cpu_percent(), operator.call("success")
    recorder.send_signal(signal.SIGINT)
    recorder.wait(20)
    (one,) = finished(folder)
    half = memory_mib[len(memory_mib) // 2 :]
    return {
        "said": [began, ended],
        "seconds": one.facts.duration_s,
        "topics": missing(one.raw),
        "lost": one.facts.lost,
        "cpu_percent": cpu_percent,
        "memory_mib": {"first": memory_mib[0], "max": max(memory_mib), "second_half_range": max(half) - min(half)},
        "file_mib": one.raw.stat().st_size / 2**20,
    }


def write_episodes(folder: Path) -> None:
    """Write short episodes of pictures without end, and say the name of each that is finished."""
    chance, channel = random.Random(), Channel("camera/wrist/color/image_raw", "sensor_msgs/msg/Image")
    with Session(folder, Limits(min_free_bytes=200 * 2**20)) as session:
        while True:
            session.start(0, {"task": "lift"})
            for number in range(chance.randint(1, 30)):
                session.put(RawMessage(channel, chance.randbytes(300_000), number, number))
            print(session.end(Outcome.SUCCESS, "operator", 10**9).name, flush=True)


def kills(folder: Path, count: int) -> dict[str, Any]:
    """Kill a writer of episodes again and again; what it had said to be finished must be there and be read."""
    promised: set[str] = set()
    chance = random.Random(4)
    for _ in range(count):
        command = [sys.executable, __file__, "--write", "--folder", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            promised.add(writer.stdout.readline().strip())
            time.sleep(chance.uniform(0.0, 1.0))
            os.kill(writer.pid, signal.SIGKILL)
            promised |= {line.strip() for line in writer.stdout if line.endswith("\n")}
    whole = {one.name: one for one in finished(folder)}
    read = [sum(1 for _ in messages_in(one.raw)) == sum(one.facts.messages.values()) for one in whole.values()]
    left = cut_off(folder)
    return {
        "kills": count,
        "finished": len(promised),
        "of_these_lost": len(promised - set(whole)),
        "unreadable": read.count(False),
        "cut_off": len(left),
        "saved": sum("saved" in what for what in save_all(folder).values()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.publish:
        publish()
    if given.write:
        write_episodes(given.folder)
    studio = subprocess.Popen([sys.executable, __file__, "--publish", "--folder", "-"])
    try:
        print(json.dumps(long_episode(Operator(), given.folder / "load", given.seconds), indent=1), flush=True)
    finally:
        studio.kill()
    print(json.dumps(kills(given.folder / "kills", given.kills), indent=1))


if __name__ == "__main__":
    main()
