"""The world's side of deterministic stepping: after each step it waits, bounded, for the nodes that act on its time."""

import math
import time
from collections.abc import Callable

from d2ppo_core.stack.stepping import HAND, Host
from sim.fci.cell import RobotCell
from sim.world.rendezvous import Rendezvous

_ANYHOW = "goes on without, and not deterministic any more"
_STEADY_STEPS = 1000
"""An arm that is held has settled when its torques have not changed for so many milliseconds."""


class Stepper:
    """Called by the world's thread after each millisecond; everybody else is served while it waits."""

    def __init__(
        self,
        cell: RobotCell,
        robot_address: str,
        *,
        step_ms: int,
        frame_ms: int,
        patience_s: float,
        stopped: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        """Open the channel; WorldError when another world steps at this address.

        Args:
            cell: The world and its robots.
            robot_address: Of the first robot, after which the channel is named.
            step_ms: Time between two ticks of the clock.
            frame_ms: Time between two frames.
            patience_s: Longest wall time that the world waits for a node.
            stopped: Whether the world is about to end.
            warn: Takes one line when a wait runs out.
        """
        self._cell, self._host = cell, Host(robot_address)
        self._step_ns, self._patience_s = step_ms * 1_000_000, patience_s
        self._align_ns = math.lcm(step_ms, frame_ms) * 1_000_000
        self._stopped, self._warn = stopped, warn
        self._nodes = Rendezvous(self._step_ns, frame_ms * 1_000_000)
        self._forgiven = self._lost = 0
        self._pausing = False

    @property
    def given_up(self) -> int:
        """How often a wait ran out, for a node or for a robot's client."""
        return self._nodes.given_up + self._lost

    @property
    def joined(self) -> frozenset[str]:
        """Names of the nodes that are waited for."""
        return self._nodes.joined

    def frame(self, stamp_ns: int) -> None:
        """A frame has been published."""
        self._nodes.frame(stamp_ns)

    def tick(self, stamp_ns: int) -> None:
        """A tick has been published: wait for all that must be done before the next one."""
        if self._cell.commands_lost > self._lost:
            self._lost = self._cell.commands_lost
            self._warn(f"{self._lost} commands of the robot's client did not come in time so far; {_ANYHOW}")
        self._nodes.tick(stamp_ns)
        self._wait(stamp_ns + self._step_ns)
        if self._pausing and stamp_ns % self._align_ns == 0 and not self.unsettled:
            self._wait(2 * stamp_ns)  # for whatever is under way
            self._pausing = False
            self._cell.pause(True)

    def pause(self, paused: bool) -> None:
        """Pause at the next time at which tick and frame meet, a held world not before it has settled; or go on."""
        self._pausing = paused
        if paused:
            return
        if self._cell.world.held:
            self._cell.world.release()
        self._cell.pause(False)

    def close(self) -> None:
        """Let the channel go."""
        self._host.close()

    @property
    def unsettled(self) -> str:
        """Why an episode cannot begin yet; empty when it can."""
        world = self._cell.world
        if unproven := self._nodes.unproven():
            return "no answer yet from " + ", ".join(f"{name} ({what})" for name, what in sorted(unproven.items()))
        return "the arm's torques still change" if world.held and world.steady_steps < _STEADY_STEPS else ""

    def _wait(self, until_ns: int) -> None:
        self._cell.pump_hands()
        give_up_s = time.monotonic() + self._patience_s
        while not self._stopped():
            for word in self._host.words():
                self._nodes.hear(word)
                if word.what == HAND:
                    self._cell.abort_hand(word.robot, word.orders)
            orders = sum(self._nodes.orders.values()) - self._forgiven
            hand_is_behind = orders > self._cell.hand_orders
            if not self._nodes.missing(until_ns) and not hand_is_behind:
                return
            if time.monotonic() > give_up_s:
                if hand_is_behind:
                    self._forgiven += orders - self._cell.hand_orders
                    self._nodes.given_up += 1
                    what = "a command to the hand"
                else:
                    what = self._nodes.give_up(until_ns)
                self._warn(f"waited {self._patience_s:g} s for {what}; {_ANYHOW}")
                give_up_s = time.monotonic() + self._patience_s
            self._cell.attend(self._host.socket)
