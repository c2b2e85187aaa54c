"""The arm's server: real Franka clients connect to it as to a robot, and the world moves by what they command."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, TypeVar

import numpy as np

from d2ppo_core.errors import WorldError
from sim.fci import wire
from sim.fci.connection import Connection, listen
from sim.fci.gripper_server import GripperServer
from sim.fci.robot import Robot
from sim.fci.urdf import robot_urdf
from sim.pace import Pacer
from sim.world import World

CYCLE_S = 1e-3
GRIPPER_CYCLES = 10
RATE_CYCLES = 100
KEEP_ALIVE_S = 0.05
"""Clients give up after a second of silence, so a paused robot repeats its state."""
_OK, _REFUSED = b"\0", b"\1"
_BAD_CLIENT = (ConnectionError, struct.error, ValueError)
"""It went away, or sends what no client of this version would."""
_Result = TypeVar("_Result")


@dataclass
class Statistics:
    """How well the loop keeps up."""

    real_time_factor: float = 1.0
    """Simulated over wall time during the last second."""
    commands_late: int = 0
    """Cycles in which the world waited more than a millisecond for the client's command."""
    commands_lost: int = 0
    """Cycles that went on without one."""


class RobotServer:
    """Serves one world on one address, a millisecond per cycle.

    In lock-step (the default) the world waits for the client's command up to `patience_s`, so a busy machine slows
    simulated time down instead of faking communication faults. With `real_time` it never runs faster than that.
    """

    def __init__(
        self,
        world: World,
        address: str = "127.0.0.1",
        *,
        version: int = 10,
        gripper: GripperServer | None = None,
        on_step: tuple[Callable[[World], None], ...] = (),
        lockstep: bool = True,
        real_time: bool = True,
        patience_s: float = 1.0,
    ) -> None:
        """Open the port.

        Raises:
            WorldError: the port is taken or the protocol version is unknown.
        """
        if version not in wire.PROTOCOLS:
            raise WorldError(f"robot server version must be one of {sorted(wire.PROTOCOLS)}, got {version}")
        self.world, self.address = world, address
        self.statistics = Statistics()
        self._protocol = wire.PROTOCOLS[version]
        self._robot = Robot(world, self._protocol)
        self._gripper, self._on_step = gripper, on_step
        self._lockstep, self._patience_s = lockstep, patience_s
        self._command_bytes = bytearray(self._protocol.command.itemsize)
        self._command = wire.field_views(self._command_bytes, self._protocol.command)
        self._connection: Connection | None = None
        self._move_id: int | None = None
        self._first_message = 0
        self._streaming = False
        """Whether the client has begun to answer every state with a command."""
        self._patient = True
        self._cycles = 0
        self._paused_steps: int | None = None
        self._calls: SimpleQueue[tuple[Callable[[], object], Future[Any]]] = SimpleQueue()
        self._pacer = Pacer(CYCLE_S if real_time else 0.0)
        self._rate_from = (time.perf_counter(), world.time_ns)
        self._listener = listen(address, wire.ROBOT_PORT)

    def serve(self, stop: Event) -> None:
        """Run cycles until `stop` is set."""
        while not stop.is_set():
            self.run_cycle()

    def run_cycle(self) -> None:
        """One millisecond: send the state, wait until the millisecond is over and the answer is there, step."""
        self._run_calls()
        if self._paused_steps == 0:
            self._stay_paused()
            return
        deadline = self._pacer.next()
        self._send_state()
        command = self._command if self._wait(deadline) else None
        self.world.step(self._robot.torque(command, expected=self._streaming))
        self._count(command is not None)
        if self._gripper is not None and self._cycles % GRIPPER_CYCLES == 0:
            self._gripper.pump()
        for hook in self._on_step:
            hook(self.world)

    def call(self, function: Callable[[], _Result], timeout_s: float = 2.0) -> _Result:
        """Run `function` between two cycles, from any thread; returns what it returns, raises what it raises."""
        future: Future[_Result] = Future()
        self._calls.put((function, future))
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()  # what the caller was told has failed must not happen later
            raise

    def pause(self, paused: bool) -> None:
        """Stop or continue simulated time; clients stay connected."""
        self._paused_steps = 0 if paused else None

    def allow_steps(self, milliseconds: int) -> None:
        """Let a paused world advance this much.

        Raises:
            WorldError: the world is not paused.
        """
        if self._paused_steps is None:
            raise WorldError("the world runs already; pause it before stepping it")
        self._paused_steps += milliseconds

    def press_user_stop(self, pressed: bool) -> None:
        """Press the operator's stop button or let it go; call it by `call`."""
        self._robot.press_user_stop(pressed)

    def place_arm(self, q_rad: np.ndarray, width_m: float) -> None:
        """Teleport the arm, at rest; a running motion is cut off."""
        self._robot.place_arm(q_rad, width_m)

    def close(self) -> None:
        """Let the ports go."""
        self._drop_client()
        self._listener.close()
        if self._gripper is not None:
            self._gripper.close()

    # --- one cycle -------------------------------------------------------------------------------------------------

    def _run_calls(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                function, future = self._calls.get_nowait()
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(function())
                except Exception as error:  # the caller's thread gets it
                    future.set_exception(error)

    def _stay_paused(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(ConnectionError):
                self._connection.send_state(self._robot.last_state())
        if self._gripper is not None:
            self._gripper.pump()
        self._serve_sockets(select.select(self._sockets(), (), (), KEEP_ALIVE_S)[0])

    def _send_state(self) -> None:
        state = self._robot.state(self._cycles + 1)
        connection = self._connection
        if connection is None:
            return
        try:
            connection.send_state(state)
            if self._robot.ended is not None:  # the idle state goes first, then the answer to the Move
                self._answer_move(connection, self._robot.ended)
        except ConnectionError:
            self._drop_client()

    def _answer_move(self, connection: Connection, how: str) -> None:
        self._robot.ended, self._streaming = None, False
        if self._move_id is not None:
            status = bytes((self._protocol.move_status[how],))
            connection.reply(self._protocol.requests.index("Move"), self._move_id, status)
            self._move_id = None

    def _wait(self, deadline: float) -> bool:
        """Serve the sockets until the deadline and, in lock-step, until the command; tells whether it came."""
        answered = False
        while True:
            now = time.perf_counter()
            waits = self._lockstep and self._streaming and self._patient and not answered
            until = deadline + self._patience_s if waits else deadline
            ready = select.select(self._sockets(), (), (), max(0.0, until - now))[0]
            if not ready:
                return answered
            if self._serve_sockets(ready):
                answered = True
                self.statistics.commands_late += time.perf_counter() > deadline + CYCLE_S

    def _count(self, answered: bool) -> None:
        """Keep the books of a cycle; patience is spent once per silence."""
        self._cycles += 1
        if answered:
            self._streaming = self._robot.motion is not None
        elif self._streaming:
            self.statistics.commands_lost += 1
        self._patient = answered or not self._streaming
        if self._paused_steps:
            self._paused_steps -= 1
        if self._cycles % RATE_CYCLES == 0:
            now, (wall_s, simulated_ns) = time.perf_counter(), self._rate_from
            if now - wall_s >= 1.0:
                self.statistics.real_time_factor = (self.world.time_ns - simulated_ns) * 1e-9 / (now - wall_s)
                self._rate_from = (now, self.world.time_ns)

    # --- sockets ---------------------------------------------------------------------------------------------------

    def _sockets(self) -> tuple[socket.socket, ...]:
        if self._connection is None:
            return (self._listener,)
        return (self._connection.udp, self._connection.tcp, self._listener)

    def _serve_sockets(self, ready: list[socket.socket]) -> bool:
        """Deal with sockets that have something to read; tells whether a command of the running motion came."""
        answered, connection = False, self._connection
        try:
            if connection is not None and connection.udp in ready:
                if connection.receive_into(self._command_bytes):
                    answered = self._is_answer(int(self._command["message_id"][0]))
            if connection is not None and connection.tcp in ready:
                for number, request_id, payload in connection.requests():
                    reply = self._handle(connection, self._protocol.request_name(number), request_id, payload)
                    connection.reply(number, request_id, reply)
        except _BAD_CLIENT:
            self._drop_client()
            return False
        if self._listener in ready:
            self._accept()
        return answered

    def _is_answer(self, message_id: int) -> bool:
        """Tell whether a command answers the state sent last; any command of this motion starts the lock-step.

        An answer to an older state is no answer in lock-step: taken for one, the client would stay a state behind and
        skip one as soon as it is late, which looks like a jump of the set-point.
        """
        if self._robot.motion is None or message_id < self._first_message:
            return False
        self._streaming = True
        return not self._lockstep or message_id == self._cycles + 1

    def _accept(self) -> None:
        client, (host, _) = self._listener.accept()
        if self._connection is not None:  # one client at a time, as the robot
            client.close()
            return
        self._connection = Connection(client, host, self.address, wire.HEADER)

    def _drop_client(self) -> None:
        """The arm stops and holds; the next client may come."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._move_id, self._streaming = None, None, False
        self._robot.stop()
        self._robot.ended = None

    def _handle(self, connection: Connection, name: str | None, request_id: int, payload: bytes) -> bytes:
        """Do what a request asks for; returns the payload of the answer."""
        robot = self._robot
        match name:
            case "Connect":
                wanted, udp_port = wire.CONNECT_REQUEST.unpack(payload)
                if wanted == self._protocol.version:
                    connection.greet(udp_port)
                return wire.CONNECT_REPLY.pack(wanted != self._protocol.version, self._protocol.version)
            case "Move":
                started = robot.start_motion(*wire.MOVE_REQUEST.unpack_from(payload))
                if started:
                    self._move_id, self._first_message, self._streaming = request_id, self._cycles + 1, False
                return bytes((self._protocol.move_status["started" if started else "not_possible"],))
            case "StopMove":
                robot.stop()
            case "AutomaticErrorRecovery":
                robot.recover()
            case "GetRobotModel":
                return _OK + robot_urdf(self.world.model).encode()
            case "SetCollisionBehavior":
                thresholds = np.array(wire.COLLISION_REQUEST.unpack(payload))
                robot.set_collision_thresholds(thresholds[21:28], thresholds[46:52])
            case "SetNEToEE":
                robot.set_tool(_transform(payload))
            case "SetEEToK":
                robot.set_stiffness_frame(_transform(payload))
            case "SetLoad":
                load = np.array(wire.LOAD_REQUEST.unpack(payload))
                robot.set_load(load[0], load[1:4], load[4:])
            case "LoadModelLibrary" | None:
                return _REFUSED
        return _OK


def _transform(payload: bytes) -> np.ndarray:
    return np.array(wire.FRAME_REQUEST.unpack(payload)).reshape(4, 4).T
