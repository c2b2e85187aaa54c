"""A simulated robot that writes down each of its milliseconds, in a process of its own, for bench_arm.py.

    python tests/benchmarks/arm_robot.py ADDRESS RECORD [--real-time] [--ros-clock]

The record is what the robot itself sees at 1 kHz: its motion, and the command that arrived with the time of arrival.
Whoever started the process may order time on standard input: a number of milliseconds (little-endian int32) lets the
world go on that far and is answered with the robot's clock; in between the world waits, its client stays connected.
A negative number sets time free.
"""

import argparse
import gc
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import KEEP_ALIVE_S, RobotServer
from sim.tasks import task_named
from sim.world.world import World

ROW = np.dtype(
    [
        ("robot_ms", "<i4"),
        ("wall_ns", "<i8"),  # CLOCK_MONOTONIC, the same for all processes
        ("dq_rad_s", "<f4", 7),
        ("tau_nm", "<f8", 7),  # as commanded, after the client's filter
        ("pose", "<f4", (3, 4)),
        ("moving", "?"),  # a motion of the client runs
    ]
)
_ORDER = struct.Struct("<i")
_BLOCK_ROWS = 4096
_CLOCK_PERIOD_NS = 4_000_000


class RecordingServer(RobotServer):
    """Takes a row in each cycle, when the command is there and before the arm moves; takes orders about time."""

    def __init__(self, world: World, address: str, path: Path, *, real_time: bool, version: int) -> None:
        hand = GripperServer(world, address)
        super().__init__(world, address, version=version, gripper=hand, real_time=real_time)
        self._file = path.open("wb", buffering=0)
        self._rows, self._row = np.zeros(_BLOCK_ROWS, ROW), 0
        self._columns = {name: self._rows[name] for name in ROW.names or ()}
        self._allowed = -1
        self.ended = False

    def _wait(self, deadline: float, sent: bool) -> bool:
        answered = super()._wait(deadline, sent)
        columns, row = self._columns, self._row
        columns["robot_ms"][row] = self._lockstep.message_id
        columns["wall_ns"][row] = time.monotonic_ns()
        columns["dq_rad_s"][row] = self.world.dq_rad_s
        columns["tau_nm"][row] = self._command["tau_J_d"]
        columns["pose"][row] = self._robot._pose[:3]
        columns["moving"][row] = self._robot.motion is not None
        self._row += 1
        if self._row == _BLOCK_ROWS:
            self.flush()
        return answered

    def run_cycle(self) -> None:
        while self._allowed == 0 and not self.ended:
            self._await_order()
        self._allowed -= self._allowed > 0
        super().run_cycle()
        if self._allowed == 0:
            self._tell_time()
        elif self._allowed < 0 and select.select((0,), (), (), 0.0)[0]:
            self._take_order()

    def flush(self) -> None:
        self._file.write(self._rows[: self._row].tobytes())
        self._row = 0

    def _await_order(self) -> None:
        ready = select.select((*self._sockets(), 0), (), (), KEEP_ALIVE_S)[0]
        if 0 in ready:
            self._take_order()
        elif not ready:
            self._repeat_state()
        self._serve_sockets([each for each in ready if each != 0])

    def _take_order(self) -> None:
        order = sys.stdin.buffer.read(_ORDER.size)
        if len(order) < _ORDER.size:
            self.ended = True
            return
        (self._allowed,) = _ORDER.unpack(order)
        if self._allowed <= 0:
            self._tell_time()

    def _tell_time(self) -> None:
        sys.stdout.buffer.write(_ORDER.pack(self._lockstep.message_id))
        sys.stdout.buffer.flush()


class RecordedRobot:
    """The process, for who started it; a context manager."""

    def __init__(
        self, address: str, path: Path, *, real_time: bool, ros_clock: bool = False, version: int = 10
    ) -> None:
        """Start it; the record grows at the path."""
        self.address, self._path = address, path
        command = [sys.executable, __file__, address, str(path), "--robot-version", str(version)]
        command += ["--real-time"] * real_time
        self._process = subprocess.Popen(
            command + ["--ros-clock"] * ros_clock, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> "RecordedRobot":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def order(self, milliseconds: int) -> int:
        """Let the world go on this far, or freely if negative; returns the robot's clock then, ms."""
        self._orders.write(_ORDER.pack(milliseconds))
        answer = self._answers.read(_ORDER.size)
        if len(answer) < _ORDER.size:
            raise RuntimeError("the simulated robot ended")
        return int(_ORDER.unpack(answer)[0])

    def end(self) -> None:
        """End it; the record is complete then."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._orders.close()
            self._process.wait(20)

    def record(self) -> np.ndarray:
        """The rows so far, without the newest few seconds while the process runs; one per millisecond."""
        return np.memmap(self._path, ROW, "r", shape=(self._path.stat().st_size // ROW.itemsize,))


def publish_clock(server: RobotServer) -> None:
    """Publish the world's time on /clock from now on."""
    import rclpy
    from rosgraph_msgs.msg import Clock

    from d2ppo_nodes.convert import time_msg
    from d2ppo_nodes.qos import NEWEST

    rclpy.init()
    publisher = rclpy.create_node("recorded_robot").create_publisher(Clock, "/clock", NEWEST)

    def publish(world: World) -> None:
        if world.time_ns % _CLOCK_PERIOD_NS == 0:
            publisher.publish(Clock(clock=time_msg(world.time_ns)))

    server._on_step = (publish,)


def main() -> None:
    """Serve until SIGTERM or the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("record", type=Path)
    parser.add_argument("--robot-version", type=int, default=10, help="of the server")
    parser.add_argument("--real-time", action="store_true", help="never faster than real time")
    parser.add_argument("--ros-clock", action="store_true", help="publish /clock")
    options = parser.parse_args()
    world, path, version = World(task_named("lift")), options.record, options.robot_version
    server = RecordingServer(world, options.address, path, real_time=options.real_time, version=version)
    if options.ros_clock:
        publish_clock(server)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    gc.collect()
    gc.freeze()
    while not stop.is_set() and not server.ended:
        server.run_cycle()
    server.flush()
    server.close()


if __name__ == "__main__":
    main()
