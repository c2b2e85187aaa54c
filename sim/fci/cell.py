"""Several robots in one world: a server each, and a millisecond that is over when all of them have their commands."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from d2ppo_core.errors import WorldError
from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import KEEP_ALIVE_S, RobotServer
from sim.fci.world_loop import CYCLE_S, WorldLoop
from sim.world.world import World

PATIENCE_S = 1.0
SHARED_PATIENCE_S = 0.4
"""A robot that waits for its own client keeps those of the others waiting, and they give up after a second."""


class CellRobot(RobotServer):
    """The server of one arm of a world that others share; the cell runs its cycles."""

    partners: tuple[CellRobot, ...] = ()
    _company_s = 0.0
    """When the client gets its next state while time stands still (time.perf_counter's)."""

    def _repeat_state(self) -> None:
        """Whoever waits keeps the partners' clients company too: the world stands still for them as well."""
        super()._repeat_state()
        for partner in self.partners:
            RobotServer._repeat_state(partner)

    @property
    def wants_pace(self) -> bool:
        """Whether the wall clock sets the pace of this robot."""
        return self._is_paced()

    def keep_company(self, now_s: float) -> tuple[Any, ...]:
        """Keep the clients going while time stands still; returns the sockets at which somebody may speak.

        A client in lock-step has its state and waits for the next one, which must not come: it gets the same again,
        rarely, so as not to give up. All others have a robot whose clock runs on although nothing moves.
        """
        if now_s >= self._company_s:
            self._company_s = now_s + (KEEP_ALIVE_S if self._lockstep.streaming else CYCLE_S)
            if not self._lockstep.streaming:
                self._send_state()
            else:
                RobotServer._repeat_state(self)
        return self._sockets()

    def pump_hand(self) -> None:
        """Answer the hand's client and tell it the present."""
        if self._gripper is not None:
            self._gripper.pump()

    @property
    def hand_orders(self) -> int:
        """How many motions the hand's client has asked for."""
        return self._gripper.orders if self._gripper is not None else 0

    def abort_hand(self, orders: int) -> None:
        """End the hand's motion if it is the one of this number."""
        if self._gripper is not None and self._gripper.orders == orders:
            self._gripper.abort()

    def stay_paused(self) -> tuple[Any, ...]:
        """Repeat the state and serve the hand; returns the sockets at which requests may come."""
        RobotServer._repeat_state(self)
        if self._gripper is not None:
            self._gripper.pump()
        return self._sockets()

    def serve_paused(self, ready: list[Any]) -> None:
        """Answer requests while time stands still."""
        self._serve_sockets(ready)


class RobotCell(WorldLoop):
    """Serves every arm of a world on an address of its own; in each millisecond all states go out before it waits.

    A client that falls silent costs the others `SHARED_PATIENCE_S` once, then its own robot stops itself as any robot
    does whose commands fail to come, and the world goes on.
    """

    world: World

    def __init__(
        self,
        world: World,
        addresses: tuple[str, ...] = ("127.0.0.1",),
        *,
        version: int = 10,
        on_step: tuple[Callable[[World], None], ...] = (),
        lockstep: bool = True,
        real_time: bool = True,
        patience_s: float | None = None,
        exposed: bool = False,
    ) -> None:
        """Open the ports of all robots and hands; other machines reach them only if they are `exposed`.

        In lock-step a robot waits `patience_s` for its client's command; None: as long as suits their number.

        Raises:
            WorldError: not one address per arm, a port is taken, or a server refuses its version.
        """
        if len(addresses) != len(world.arms) or len(set(addresses)) != len(addresses):
            names = ", ".join(arm.name for arm in world.arms)
            raise WorldError(f"task {world.task.name!r} wants an address per arm ({names}), got {', '.join(addresses)}")
        super().__init__(world, on_step)
        usual_s = PATIENCE_S if len(addresses) == 1 else SHARED_PATIENCE_S
        self.robots: tuple[CellRobot, ...] = ()
        try:
            for arm, address in zip(world.arms, addresses, strict=True):
                robot = CellRobot(
                    arm,
                    address,
                    version=version,
                    lockstep=lockstep,
                    real_time=real_time,
                    patience_s=usual_s if patience_s is None else patience_s,
                    gripper=GripperServer(arm, address, exposed=exposed),
                    exposed=exposed,
                )
                self.robots += (robot,)
        except WorldError:
            self.close()
            raise
        for robot in self.robots:
            robot.partners = tuple(other for other in self.robots if other is not robot)

    @property
    def real_time_factor(self) -> float:
        """Simulated over wall time during the last second."""
        return self.robots[0].statistics.real_time_factor

    @property
    def commands_late(self) -> int:
        """Commands, of all clients, for which the world waited more than a millisecond."""
        return sum(robot.statistics.commands_late for robot in self.robots)

    @property
    def commands_lost(self) -> int:
        """Commands, of all clients, that the world went on without."""
        return sum(robot.statistics.commands_lost for robot in self.robots)

    def inject_fault(self, arm: int, fault: str, duration_s: float = 0.0, amount: float = 0.0) -> str:
        """Start a fault of sim.fci.faults at one arm, from any thread; returns what happens, raises WorldError."""
        return self.call(lambda: self.robots[arm].faults.inject(fault, duration_s, amount))

    @property
    def hand_orders(self) -> int:
        """How many motions the clients of all hands have asked for."""
        return sum(robot.hand_orders for robot in self.robots)

    def abort_hand(self, address: str, orders: int) -> None:
        """End the motion of a hand if it is the one of this number; without an address, that of the only robot."""
        for robot in self.robots:
            if address in ("", robot.address):
                robot.abort_hand(orders)

    def pump_hands(self) -> None:
        """Answer the hands' clients and tell them the present."""
        for robot in self.robots:
            robot.pump_hand()

    def attend(self, listener: Any) -> None:
        """Serve everybody for a moment while time stands still between two cycles; `listener` wakes it up early."""
        self._calls.run()
        now_s = time.perf_counter()
        sockets = {sock: robot for robot in self.robots for sock in robot.keep_company(now_s)}
        ready = select.select([listener, *sockets], (), (), CYCLE_S)[0]
        for robot in self.robots:
            robot.serve_paused([sock for sock in ready if sockets.get(sock) is robot])
        self.pump_hands()

    def close(self) -> None:
        """Let all ports go."""
        for robot in self.robots:
            robot.close()

    def _is_paced(self) -> bool:
        return any(robot.wants_pace for robot in self.robots)

    def _cycle(self, deadline: float) -> None:
        for robot in self.robots:
            robot.begin_cycle()
        for robot in self.robots:
            robot.meanwhile()
        for robot in self.robots:
            robot.end_cycle(deadline)

    def _stay_paused(self) -> None:
        sockets = {sock: robot for robot in self.robots for sock in robot.stay_paused()}
        ready = select.select(list(sockets), (), (), KEEP_ALIVE_S)[0]
        for robot in self.robots:
            robot.serve_paused([sock for sock in ready if sockets[sock] is robot])
