"""Watches over a tracking controller whose caller may hang: it would go on with the last twist for ever."""

import contextlib
import threading
from collections.abc import Callable

import numpy as np

from d2ppo_core.geometry import RigidState, moved_by
from d2ppo_core.runtime.control.blend import Blend, BlendLimits, stop
from d2ppo_core.runtime.control.trajectory import Motion

_LOOK_S = 0.01


class TrackingGuard:
    """Sends references on, and brings the arm to rest when none comes for a while of the robot's own clock.

    The controller's stiffness pulls towards the last pose, but its damping pushes along the last twist, and that push
    may be the stronger one: left alone, the arm would drift. The robot's clock counts, not the machine's: a simulated
    robot that is paused misses nothing.
    """

    def __init__(self, send: Callable[[RigidState], None], clock_ms: Callable[[], int], silence_s: float) -> None:
        """Take how to send a reference, how to read the robot's clock, and the silence that is too long."""
        self._send, self._clock_ms, self._silence_ms = send, clock_ms, round(silence_s * 1000)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._told_ms = 0
        self._ramp: tuple[Blend, RigidState, int] | None = None
        self.commanded: RigidState | None = None
        """What the robot was told last; None before the first reference."""
        self.engaged = 0
        """How often the guard had to bring the arm to rest."""
        self._thread = threading.Thread(target=self._run, name="franka-guard", daemon=True)
        self._thread.start()

    def track(self, reference: RigidState) -> None:
        """Send a reference; the caller is alive."""
        with self._lock:
            self._told_ms, self._ramp, self.commanded = self._clock_ms(), None, reference
            self._send(reference)

    def close(self) -> None:
        """Send nothing any more."""
        self._end.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        with contextlib.suppress(Exception):  # the motion or the robot is gone; who drives it notices by himself
            while not self._end.wait(_LOOK_S):
                with self._lock:
                    self._look()

    def _look(self) -> None:
        if self.commanded is None or self._end.is_set():
            return
        now_ms = self._clock_ms()
        if self._ramp is None and now_ms - self._told_ms > self._silence_ms and self.commanded.twist.any():
            blend = stop(self.commanded.twist, np.zeros(6), BlendLimits())
            self._ramp = (blend, self.commanded, now_ms)
            self.engaged += 1
        if self._ramp is not None:
            blend, start, since_ms = self._ramp
            way, rate, acceleration = blend.at((now_ms - since_ms) * 1e-3)
            self.commanded = Motion(moved_by(start.pose, way), rate, acceleration)
            self._send(self.commanded)
            if not rate.any():
                self._ramp = None
