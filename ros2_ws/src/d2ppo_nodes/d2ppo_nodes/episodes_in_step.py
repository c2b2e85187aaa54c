"""Episodes in a world that steps deterministically: the same seed gives the same motion, bit for bit."""

import hashlib
import itertools
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from d2ppo_core.errors import StackError
from d2ppo_core.stack.stepping import CHUNK, WATCH, Member
from d2ppo_interfaces.msg import ActionChunk, WorldState
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.convert import time_ns
from d2ppo_nodes.episodes import EpisodeRunner

_SETTLE_WALL_S = 90.0
_HANG_WALL_S = 60.0


def episode_runner(client: StackClient, check: Callable[[], None], horizon_s: float) -> EpisodeRunner:
    """Return what runs episodes in this client's stack."""
    kind = EpisodeRunner if client.member is None else EpisodeRunnerInStep
    return kind(client, check, horizon_s)


class EpisodeRunnerInStep(EpisodeRunner):
    """Begins each episode from the very same state of everything, and sees every frame of it.

    The world holds the arm at the task's home while the arm node homes once more: so its controller, and the client
    behind it, start from what they always start from. Then the world is paused, the policy begins anew with the
    episode's seed, the arm is started, and time goes on.
    """

    def __init__(self, client: StackClient, check: Callable[[], None], horizon_s: float) -> None:
        """Prepare as any runner does."""
        self._frames: list[WorldState] = []
        self._recording = False
        super().__init__(client, check, horizon_s)

    def _begin(self, seed: int) -> int:
        client, member = self._client, self._member
        self.bring_home()
        member.join(WATCH, CHUNK)
        client.pause_world(True, _SETTLE_WALL_S)
        try:
            self._forget()
            self._frames, self._recording = [], True
            client.set_noise_seed(seed)
            client.trigger(client.service("start"))
        finally:
            client.pause_world(False)
        return time_ns(self._world.header.stamp)

    def _watch(self, start_ns: int) -> tuple[str, list[float], int]:
        began_s = time.monotonic()
        outcome, end_ns = self._follow(start_ns)
        self._recording = False
        self._member.leave()
        self._samples = [sample for sample in self._samples if sample.time_s <= end_ns * 1e-9]
        self._chunks = {
            key: chunk for key, chunk in self._chunks.items() if start_ns < time_ns(chunk.header.stamp) <= end_ns
        }
        return outcome, [(end_ns - start_ns) * 1e-9 / (time.monotonic() - began_s)], end_ns

    def _follow(self, start_ns: int) -> tuple[str, int]:
        """Look at every frame until one is the last."""
        stamp_ns = start_ns
        for number in itertools.count():
            try:
                arrived = partial(self._has_frame, number)
                self._client.spin_until(arrived, _HANG_WALL_S, "the next frame", self._check)
            except StackError as error:
                self._check()
                return f"hang: {error}", stamp_ns
            world = self._frames[number]
            stamp_ns = time_ns(world.header.stamp)
            if world.success:
                return "success", stamp_ns
            if ended := self._ended():
                return ended, stamp_ns
            if (stamp_ns - start_ns) * 1e-9 > self._horizon_s:
                return "time out", stamp_ns
        raise AssertionError("frames are counted without end")

    def _has_frame(self, number: int) -> bool:
        return len(self._frames) > number

    def _on_world(self, world: WorldState) -> None:
        if self._recording:
            super()._on_world(world)
            self._frames.append(world)

    def _on_chunk(self, chunk: ActionChunk, name: str = "") -> None:
        if self._recording:
            super()._on_chunk(chunk, name)

    @property
    def _member(self) -> Member:
        if self._client.member is None:
            raise StackError("this client is not in step with a world")
        return self._client.member

    def _digest(self, start_ns: int, end_ns: int) -> str:
        digest = hashlib.sha256()
        for world in self._frames:
            stamp_ns = time_ns(world.header.stamp)
            if start_ns < stamp_ns <= end_ns:
                digest.update(np.int64(stamp_ns - start_ns).tobytes() + np.asarray(world.qpos, np.float64).tobytes())
        in_order = sorted(self._chunks.items(), key=lambda item: (time_ns(item[1].header.stamp), item[0][0]))
        for _, chunk in in_order:
            if time_ns(chunk.published) <= end_ns:
                digest.update(chunk_bytes(chunk, start_ns))
        return digest.hexdigest()[:16]


def chunk_bytes(chunk: ActionChunk, start_ns: int) -> bytes:
    """All of a chunk that moves the arm, its times from the start of the episode."""
    times = [time_ns(stamp) - start_ns for stamp in (chunk.header.stamp, chunk.received, chunk.published)]
    numbers = [chunk.dt_s, *chunk.gripper_width_m]
    for pose, twist in zip(chunk.poses, chunk.twists, strict=True):
        position, rotation, linear, angular = pose.position, pose.orientation, twist.linear, twist.angular
        numbers += [position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w]
        numbers += [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z]
    return np.asarray(times, np.int64).tobytes() + np.asarray(numbers, np.float64).tobytes()
