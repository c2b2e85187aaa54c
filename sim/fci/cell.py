"""Several robots in one world: a server each, and a millisecond that is over when all of them have their commands."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from d2ppo_core.errors import WorldError
from sim.fci.gripper_server import GripperServer
from sim.fci.robot_server import KEEP_ALIVE_S, RobotServer
from sim.fci.world_loop import WorldLoop
from sim.world.world import World

PATIENCE_S = 1.0
SHARED_PATIENCE_S = 0.4
"""A robot that waits for its own client keeps those of the others waiting, and they give up after a second."""


class CellRobot(RobotServer):
    """The server of one arm of a world that others share; the cell runs its cycles."""

    partners: tuple[CellRobot, ...] = ()

    def _repeat_state(self) -> None:
        """Whoever waits keeps the partners' clients company too: the world stands still for them as well."""
        super()._repeat_state()
        for partner in self.partners:
            RobotServer._repeat_state(partner)

    @property
    def wants_pace(self) -> bool:
        """Whether the wall clock sets the pace of this robot."""
        return self._is_paced()

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
        exposed: bool = False,
    ) -> None:
        """Open the ports of all robots and hands; other machines reach them only if they are `exposed`.

        Raises:
            WorldError: not one address per arm, a port is taken, or a server refuses its version.
        """
        if len(addresses) != len(world.arms) or len(set(addresses)) != len(addresses):
            names = ", ".join(arm.name for arm in world.arms)
            raise WorldError(f"task {world.task.name!r} wants an address per arm ({names}), got {', '.join(addresses)}")
        super().__init__(world, on_step)
        self.robots: tuple[CellRobot, ...] = ()
        try:
            for arm, address in zip(world.arms, addresses, strict=True):
                robot = CellRobot(
                    arm,
                    address,
                    version=version,
                    lockstep=lockstep,
                    real_time=real_time,
                    patience_s=PATIENCE_S if len(addresses) == 1 else SHARED_PATIENCE_S,
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

    def inject_fault(self, arm: int, fault: str, duration_s: float = 0.0, amount: float = 0.0) -> str:
        """Start a fault of sim.fci.faults at one arm, from any thread; returns what happens, raises WorldError."""
        return self.call(lambda: self.robots[arm].faults.inject(fault, duration_s, amount))

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
