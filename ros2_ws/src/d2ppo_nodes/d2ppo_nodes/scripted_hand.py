"""A scripted demonstrator instead of a person: it looks at the simulated world and plays a gamepad, event by event."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2ppo_core.errors import StackError
from d2ppo_core.geometry import Array
from d2ppo_core.runtime.teleop import gamepad as pad
from d2ppo_core.runtime.teleop.mapping import MappingConfig
from d2ppo_interfaces.msg import ArmState, TeleopStatus
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.convert import time_ns
from d2ppo_nodes.qos import LATCHED
from sim.experts import Style, expert_for
from sim.experts.live import LiveView
from sim.tasks import task_named

_FULL = 32767
_SPEED_M_S, _TURN_RAD_S = 0.05 * 6.12, 0.5 * 6.12
"""How fast the training controller goes steadily for an action of 1: its scale times kp / kd."""
_START_S, _HOME_S, _AGAIN_S = 60.0, 60.0, 3.0


@dataclass(frozen=True, kw_only=True)
class HandEpisode:
    """How an episode went."""

    seed: int
    success: bool
    seconds: float
    """Of simulated time, for which the dead-man switch was held."""


class ScriptedHand:
    """A hand that plays the pad whose bytes go to ``path``."""

    def __init__(self, client: StackClient, task: str, path: Path) -> None:
        """Look at the world of a task; the teleop node reads the other end of ``path``."""
        self._client, self._name = client, task
        self._view = LiveView(task_named(task))
        self._config = MappingConfig()
        self._pad = os.open(path, os.O_WRONLY)

    def close(self) -> None:
        """Let the pad go."""
        os.close(self._pad)

    def episode(self, seed: int, limit_s: float = 30.0, style: Style | None = None) -> HandEpisode:
        """Home, put the objects where ``seed`` says, start, and do the task within a simulated time.

        The buttons of a recording are pressed as well: new episode before the hand moves, success or failure after it.

        Raises:
            StackError: the stack does not answer.
        """
        self._go_home()
        self._client.reset_world(seed)
        self._tap(pad.START, lambda: self._is(ArmState.RUNNING), "start")
        self._send((pad.ABS, pad.HAT_X, 1))
        self._send((pad.ABS, pad.HAT_X, 0))
        begin_ns = self._look()
        self._send((pad.KEY, pad.DEADMAN, 1), (pad.ABS, pad.RIGHT_TRIGGER, 0))
        commands = expert_for(self._name)(self._view.scene, style or Style.plain())
        now_ns = begin_ns
        for command in commands:
            self._play(command.action)
            now_ns = self._look()
            if now_ns - begin_ns > limit_s * 1e9:
                break
        self._send((pad.KEY, pad.DEADMAN, 0), *((pad.ABS, axis, 0) for axis in (pad.LEFT_X, pad.LEFT_Y)))
        success = self._view.scene.is_solved()
        verdict = pad.NORTH if success else pad.WEST
        self._send((pad.KEY, verdict, 1))
        self._send((pad.KEY, verdict, 0))
        self._tap(pad.SELECT, lambda: self._is(ArmState.READY), "stop")
        return HandEpisode(seed=seed, success=success, seconds=(now_ns - begin_ns) * 1e-9)

    def _go_home(self) -> None:
        self._tap(pad.MODE, lambda: self._says("homing"), "the arm to home")
        self._client.spin_until(lambda: self._is(ArmState.READY), _HOME_S, "the arm to be home")
        for _ in self._config.levels:  # to the highest level
            self._send((pad.ABS, pad.HAT_Y, -1), (pad.ABS, pad.HAT_Y, 0))

    def _is(self, state: int) -> bool:
        return self._client.arm is not None and self._client.arm.state == state

    def _says(self, reason: str) -> bool:
        return self._client.arm is not None and self._client.arm.reason == reason

    def _look(self) -> int:
        """Wait for the world's next state and look at it; returns its time."""
        before = self._client.world
        self._client.spin_until(lambda: self._client.world not in (None, before), 10.0, "the world's state")
        world = self._client.world
        if world is None:
            raise StackError("no world says how it is")
        self._view.see(np.asarray(world.qpos), world.success)
        return time_ns(world.header.stamp)

    def _play(self, action: Array) -> None:
        """Turn an action (7,) of the training controller into sticks: the velocity that it means, as far as they go."""
        config = self._config
        move, yaw = _within(action[:3] * _SPEED_M_S / config.max_speed_m_s), action[5] * _TURN_RAD_S
        reach = [*move, float(np.clip(yaw / config.max_turn_rad_s, -1.0, 1.0))]
        axes = (pad.LEFT_Y, pad.LEFT_X, pad.RIGHT_Y, pad.RIGHT_X)
        sticks = [(pad.ABS, axis, round(-_FULL * self._beyond(x))) for axis, x in zip(axes, reach, strict=True)]
        self._send(*sticks, (pad.ABS, pad.RIGHT_TRIGGER, 255 if action[6] > 0.0 else 0))

    def _beyond(self, share: float) -> float:
        """Deflection that means this share, outside the dead zone."""
        if abs(share) < 0.01:
            return 0.0
        return float(np.sign(share)) * (self._config.dead_zone + (1.0 - self._config.dead_zone) * abs(share))

    def _tap(self, button: int, done: Callable[[], bool], what: str) -> None:
        """Press a button, again every few seconds, until it shows."""
        pressed_s = float("-inf")

        def tap() -> bool:
            nonlocal pressed_s
            if not (shows := done()) and time.monotonic() > pressed_s + _AGAIN_S:
                pressed_s = time.monotonic()
                self._send((pad.KEY, button, 1))
                self._send((pad.KEY, button, 0))
            return shows

        self._client.spin_until(tap, _START_S, what)

    def _send(self, *events: tuple[int, int, int]) -> None:
        os.write(self._pad, b"".join(pad.event(*one) for one in (*events, (pad.SYN, pad.SYN_REPORT, 0))))


def _within(vector: Array) -> Array:
    return np.asarray(vector / max(1.0, float(np.linalg.norm(vector))))


@contextmanager
def scripted_hand(client: StackClient, namespace: str, task: str, check: Callable[[], None]) -> Iterator[ScriptedHand]:
    """Start a teleop node with a pad of its own beside a stack, and the hand that plays it.

    Args:
        client: of the stack.
        namespace: of the arm, without slashes.
        task: what is on the table.
        check: called while waiting; raises when it has become pointless.
    """
    heard: list[TeleopStatus] = []
    client._node.create_subscription(TeleopStatus, "teleop/status", heard.append, LATCHED)
    with tempfile.TemporaryDirectory(prefix="d2ppo-pad-") as folder:
        path = Path(folder, "pad")
        os.mkfifo(path)
        command = [sys.executable, "-m", "d2ppo_nodes.teleop_node", "--ros-args", "-r", f"__ns:=/{namespace}"]
        for name, value in {"device": "gamepad", "device_path": path, "use_sim_time": "true"}.items():
            command += ["-p", f"{name}:={value}"]
        node = subprocess.Popen([*command, "--log-level", "warn"])
        try:

            def alive() -> None:
                if node.poll() is not None:
                    raise StackError(f"the teleop node ended with exit code {node.returncode}")
                check()

            client.spin_until(lambda: heard, _START_S, "the teleop node", alive)
            hand = ScriptedHand(client, task, path)
            yield hand
            hand.close()
        finally:
            node.terminate()
            node.wait(20)
