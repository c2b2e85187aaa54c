"""Faults of a camera have a name and end; the camera is librealsense's software device."""

import time

import numpy as np
import pytest

from d2ppo_core.drivers.realsense import RealSenseCamera, RealSenseConfig
from d2ppo_core.runtime.inference.frame_watch import FrameWatch
from d2ppo_core.runtime.inference.watched_camera import WatchedCamera

pytest.importorskip("pyrealsense2")

from ...drivers.software_camera import SoftwareCamera, Streaming  # noqa: E402

MS = 1_000_000


class Bench:
    """A watched camera, and what it said."""

    def __init__(self, **changes) -> None:
        self.software, self.said = SoftwareCamera(), []
        driver = RealSenseCamera(RealSenseConfig(name="wrist"), self.software.find)
        self.camera = WatchedCamera(driver, tell=self.said.append, retry_s=0.05, **changes)
        self.camera.connect()

    def take(self, count: int, within_s: float = 5.0, timeout_s: float = 0.3) -> list[int]:
        stamps, give_up_s = [], time.monotonic() + within_s
        while len(stamps) < count:
            assert time.monotonic() < give_up_s, self.camera.fault
            if (frame := self.camera.next(timeout_s)) is not None:
                stamps.append(frame[1])
        return stamps

    def one(self, stamp_ms: float, mark: int | None = None):
        self.software.push(stamp_ms, mark)
        return self.camera.next(0.5)


@pytest.fixture
def bench():
    made = Bench(frozen_after=5)
    yield made
    made.camera.close()


def test_a_camera_that_is_unplugged_is_waited_for_and_comes_back(bench):
    with Streaming(bench.software):
        bench.take(5)
        bench.software.unplug()
        gone_s, lost = (
            time.monotonic(),
            "delivered no frame for 0.3 s; check its cable; it is looked for until it is back",
        )
        while bench.camera.next(0.3) is not None:
            pass
        assert bench.camera.fault == f"camera wrist {lost}"
        while bench.camera.next(0.3) is not None or time.monotonic() < gone_s + 0.8:
            pass
        assert "found none; check the USB cable" in bench.camera.fault
        bench.software.plug()
        back_s = time.monotonic()
        bench.take(5)
    print(f"\n  first frames {time.monotonic() - back_s:.2f} s after it is back")
    assert bench.camera.losses == 1 and bench.camera.fault == ""
    assert len(bench.said) == 1 and bench.said[0].startswith("camera wrist is back after ")


def test_the_latency_of_the_device_is_subtracted():
    bench = Bench(latency_ns=12 * MS)
    assert bench.one(1_000.0)[1] == 988 * MS
    bench.camera.close()


def test_a_stamp_that_is_repeated_is_named_and_dropped(bench):
    assert bench.one(1_000.0, 0) is not None
    assert bench.one(1_000.0, 1) is None
    assert bench.camera.fault == "camera wrist is stuck: it repeats the time of its last frame"
    assert bench.one(1_033.0, 2) is not None and bench.camera.fault == ""
    assert (bench.camera.frames, bench.camera.dropped) == (2, 1)


def test_a_clock_that_jumps_back_costs_one_frame(bench):
    bench.one(9_000.0, 0)
    assert bench.one(1_000.0, 1) is None
    assert bench.camera.fault == "camera wrist has a clock that jumped back by 8000 ms"
    assert bench.one(1_033.0, 2) is not None and bench.camera.fault == ""


def test_a_frozen_picture_is_named_until_it_changes(bench):
    frames = [bench.one(1_000.0 + 33.0 * i, 7) for i in range(8)]
    assert [frame is not None for frame in frames] == [True] * 5 + [False] * 3
    assert bench.camera.fault == "camera wrist is frozen: the same picture 8 times in a row"
    assert bench.one(2_000.0, 8) is not None


def test_frames_that_were_late_or_dropped_are_no_fault(bench):
    assert bench.one(1_000.0, 0) is not None
    time.sleep(0.2)
    assert bench.one(1_200.0, 1) is not None and bench.camera.dropped == 0


def test_a_picture_of_another_size_or_kind_is_named():
    watch = FrameWatch(640, 480, 0)
    assert watch.fault(np.zeros((240, 320, 3), np.uint8), 0).startswith("delivers 240x320x3 uint8, wanted 480x640x3")
    assert watch.fault(np.zeros((480, 640), np.uint16), 0).startswith("delivers 480x640 uint16")
    assert watch.fault(np.zeros((480, 640, 3), np.uint8), 1) == ""
    assert watch.fault(np.zeros((480, 640, 3), np.uint8), 2) == "", "a still scene may look like that"
