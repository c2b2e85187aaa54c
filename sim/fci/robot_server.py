"""The arm's server: real Franka clients connect to it as to a robot, and the world moves by what they command."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from d2ppo_core.errors import WorldError
from sim.fci import settings, wire
from sim.fci.connection import Connection, accept, listen
from sim.fci.faults import FaultInjector, Wire
from sim.fci.gripper_server import GripperServer
from sim.fci.lockstep import Lockstep
from sim.fci.model_library import is_served, model_library
from sim.fci.motion import Arm
from sim.fci.robot import Robot
from sim.fci.tally import Statistics
from sim.fci.urdf import robot_urdf
from sim.fci.wire import Reply, RobotMode
from sim.fci.world_loop import CYCLE_S, WorldLoop

GRIPPER_CYCLES = 10
SPIN_S = 2e-4
"""A server that nobody paces looks for the command this long before it sleeps: most come sooner than it would wake up,
and while it stays on its core the client thinks on another."""
KEEP_ALIVE_S = 0.05
"""Clients give up after a second of silence, so a paused robot repeats its state. So does one that waits for a command:
a client that did not read for a tenth of a second has lost the newest states and would wait for the robot in turn."""
_OK, _REFUSED = bytes((Reply.SUCCESS,)), bytes((Reply.NOT_POSSIBLE,))
_BAD_CLIENT = (ConnectionError, struct.error, ValueError)
"""It went away, or sends what no client of this version would."""


class RobotServer(WorldLoop):
    """Serves one world on one address, a millisecond per cycle.

    In lock-step (the default) the world waits for the client's command up to `patience_s`, so a busy machine slows
    simulated time down instead of faking communication faults. With `real_time` it never runs faster than that.
    Without lock-step a command that is not there when its millisecond ends is lost, as on a robot.
    """

    world: Arm

    def __init__(
        self,
        world: Arm,
        address: str = "127.0.0.1",
        *,
        version: int = 10,
        gripper: GripperServer | None = None,
        on_step: tuple[Callable[[Any], None], ...] = (),
        lockstep: bool = True,
        real_time: bool = True,
        patience_s: float = 1.0,
        exposed: bool = False,
    ) -> None:
        """Open the port; other machines reach it only if it is `exposed`.

        Raises:
            WorldError: the port is taken or could be reached from outside, the protocol version is unknown, or a
                Panda's model library does not compile.
        """
        if version not in wire.PROTOCOLS:
            raise WorldError(f"robot server version must be one of {sorted(wire.PROTOCOLS)}, got {version}")
        super().__init__(world, on_step)
        self.address = address
        self.statistics = Statistics()
        self._protocol = wire.PROTOCOLS[version]
        self._robot = Robot(world, self._protocol)
        self._model = self._model_payload()
        self._gripper, self._wire = gripper, Wire()
        self.faults = FaultInjector(self._robot, self._wire, world.fingers, self._jump_clock, self._cut_gripper)
        self._lockstep = Lockstep(patience_s, enabled=lockstep)
        size = self._protocol.command.itemsize
        self._arrived, self._command_bytes = bytearray(size), bytearray(size)
        self._command = wire.field_views(self._command_bytes, self._protocol.command)
        self._connection: Connection | None = None
        self._move_id: int | None = None
        self._recovery_id: int | None = None
        self._cycles, self._sent = 0, False
        self._real_time = real_time
        self._listener = listen(address, wire.ROBOT_PORT, exposed=exposed)

    def begin_cycle(self) -> None:
        """Send the state; robots of one world all do so before any of them waits."""
        self.faults.tick()
        self._sent = self._send_state()

    def meanwhile(self) -> None:
        """Do what nobody waits for while the client thinks."""
        self.world.settle()
        if self._gripper is not None and self._cycles % GRIPPER_CYCLES == 0:
            self._gripper.pump()

    def end_cycle(self, deadline: float) -> None:
        """Wait until the deadline (time.perf_counter's) and for the answer, then give the arm its torques."""
        answered = self._wait(deadline, self._sent)
        command = self._command if self._wire.deliver(self._cycles, self._command_bytes, answered) else None
        self.world.advance(self._robot.torque(command, expected=self._lockstep.streaming))
        self._count(answered, command is not None)

    def press_user_stop(self, pressed: bool) -> None:
        """Press the operator's stop button or let it go; call it by `call`."""
        self._robot.press_user_stop(pressed)

    def inject_fault(self, fault: str, duration_s: float = 0.0, amount: float = 0.0) -> str:
        """Start a fault of sim.fci.faults, from any thread; returns what happens, raises WorldError."""
        return self.call(lambda: self.faults.inject(fault, duration_s, amount))

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

    def _cycle(self, deadline: float) -> None:
        self.begin_cycle()
        self.meanwhile()
        self.end_cycle(deadline)

    def _is_paced(self) -> bool:
        """Whether the wall clock sets the pace; without commands it always does, or states would flood the client."""
        return self._real_time or (self._connection is not None and not self._lockstep.streaming)

    def _repeat_state(self) -> None:
        state = self._wire.outgoing(self._robot.last_state())
        if self._connection is not None and state is not None:
            with contextlib.suppress(ConnectionError):
                self._connection.send_state(state)

    def _stay_paused(self) -> None:
        self._repeat_state()
        if self._gripper is not None:
            self._gripper.pump()
        self._serve_sockets(select.select(self._sockets(), (), (), KEEP_ALIVE_S)[0])

    def _send_state(self) -> bool:
        """Tell the client the present, and answer what had to wait for it; whether anything went out."""
        self._lockstep.message_id += 1
        state = self._wire.outgoing(self._robot.state(self._lockstep.message_id))
        connection = self._connection
        if connection is None or state is None:
            return False
        if connection.mute:
            self._drop_client()
            return False
        try:
            connection.send_state(state)
            if self._robot.ended is not None:  # the idle state goes first, then the answer to the Move
                self._answer_move(connection, self._robot.ended)
            if self._recovery_id is not None and self._robot.mode is not RobotMode.RECOVERY:
                self._answer_recovery(connection, self._recovery_id)
        except ConnectionError:
            self._drop_client()
        return True

    def _answer_move(self, connection: Connection, how: str) -> None:
        self._robot.ended = None
        self._lockstep.end()
        if self._move_id is not None:
            status = bytes((self._protocol.move_status[how],))
            connection.reply(self._protocol.requests.index("Move"), self._move_id, status)
            self._move_id = None

    def _answer_recovery(self, connection: Connection, request_id: int) -> None:
        self._recovery_id = None
        how = {RobotMode.IDLE: "success", RobotMode.USER_STOPPED: "user_stop", RobotMode.REFLEX: "reflex"}
        status = self._protocol.recovery_status[how.get(self._robot.mode, "aborted")]
        connection.reply(self._protocol.requests.index("AutomaticErrorRecovery"), request_id, bytes((status,)))

    def _wait(self, deadline: float, sent: bool) -> bool:
        """Serve the sockets until the deadline and, in lock-step, until the command; tells whether it came."""
        answered = False
        spin_until = 0.0 if self._real_time else time.perf_counter() + SPIN_S
        while True:
            now = time.perf_counter()
            waits = sent and not answered and self._robot.motion is not None
            until = deadline + (self._lockstep.patience_s() if waits else 0.0)
            spins = waits and now < spin_until
            timeout = 0.0 if spins else min(max(0.0, until - now), KEEP_ALIVE_S)
            ready = select.select(self._sockets(), (), (), timeout)[0]
            if not ready:
                if spins:
                    continue
                if until - now <= KEEP_ALIVE_S:
                    return answered
                self._repeat_state()
                continue
            if self._serve_sockets(ready):
                answered, now = True, time.perf_counter()
                self.statistics.commands_late += now > deadline + CYCLE_S
                if now >= deadline:
                    return True
            elif time.perf_counter() >= until:
                return answered  # whoever talks, or knocks, without end holds nobody up

    def _count(self, answered: bool, delivered: bool) -> None:
        """Keep the books of a cycle."""
        self._cycles += 1
        if self._robot.motion is None:
            self._lockstep.end()
        elif self._lockstep.streaming and not delivered:
            self.statistics.commands_lost += 1
        self._lockstep.count(answered=answered)
        self.statistics.count(self.world.time_ns)

    # --- sockets ---------------------------------------------------------------------------------------------------

    def _sockets(self) -> tuple[socket.socket, ...]:
        if self._wire.cut:
            return ()
        if self._connection is None:
            return (self._listener,)
        return (self._connection.udp, self._connection.tcp, self._listener)

    def _serve_sockets(self, ready: list[socket.socket]) -> bool:
        """Deal with sockets that have something to read; tells whether a command of the running motion came."""
        answered, connection = False, self._connection
        try:
            if connection is not None and connection.udp in ready:
                answered = connection.receive_into(self._arrived) and self._take_command()
            if connection is not None and connection.tcp in ready:
                for number, request_id, payload in connection.requests():
                    reply = self._handle(connection, self._protocol.request_name(number), request_id, payload)
                    if reply is not None:
                        connection.reply(number, request_id, reply)
        except _BAD_CLIENT:
            self._drop_client()
            return False
        if self._listener in ready:
            self._accept()
        return answered

    def _take_command(self) -> bool:
        """Keep what arrived if it is the command that the running motion waits for."""
        message_id = int.from_bytes(self._arrived[:8], "little")
        if self._robot.motion is None or not self._lockstep.is_answer(message_id):
            return False
        self._command_bytes[:] = self._arrived
        return True

    def _accept(self) -> None:
        peer = accept(self._listener, self.address, wire.HEADER)
        if peer is not None and self._connection is not None:
            if self._connection.ready:  # one client at a time, as the robot
                peer.close()
                return
            self._drop_client()  # it has said nothing yet
        self._connection = peer or self._connection

    def _drop_client(self) -> None:
        """The arm stops and holds; the next client may come."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._move_id = self._recovery_id = None
        self._lockstep.end()
        self._robot.stop()
        self._robot.ended = None

    def _handle(self, connection: Connection, name: str | None, request_id: int, payload: bytes) -> bytes | None:
        """Do what a request asks for; returns the payload of the answer, None when it comes later."""
        if not connection.ready and name != "Connect":
            raise ConnectionAbortedError("a client says hello first")
        match name:
            case "Connect":
                wanted, udp_port = wire.CONNECT_REQUEST.unpack(payload)
                if wanted == self._protocol.version:
                    connection.greet(udp_port)
                return wire.CONNECT_REPLY.pack(wanted != self._protocol.version, self._protocol.version)
            case "Move":
                return bytes((self._protocol.move_status[self._start_motion(request_id, payload)],))
            case "StopMove":
                self._robot.stop()
                return _OK
            case "AutomaticErrorRecovery":
                how = self._robot.recover()
                if how == "pending":
                    self._recovery_id = request_id
                    return None
                return bytes((self._protocol.recovery_status[how],))
            case "GetRobotModel":
                return _OK + self._model
            case "LoadModelLibrary":
                return _OK + self._model if is_served(*wire.LIBRARY_REQUEST.unpack(payload)) else _REFUSED
            case None:
                return _REFUSED
        return settings.apply(self._robot, name, payload)

    def _start_motion(self, request_id: int, payload: bytes) -> str:
        request = settings.move_request(payload)
        outcome = self._robot.start_motion(request)
        if outcome == "started":
            self._move_id = request_id
            self._lockstep.begin(asynchronous=request.async_velocity_rad_s is not None)
            self._wire.forget()
        return outcome

    def _model_payload(self) -> bytes:
        if self._protocol.version == 5:
            return model_library(self.world.model).read_bytes()
        return robot_urdf(self.world.model, self._robot.limits).encode()

    def _jump_clock(self, ahead_s: float) -> None:
        self._lockstep.jump(round(1e3 * ahead_s))

    def _cut_gripper(self, cut: bool) -> None:
        if self._gripper is not None:
            self._gripper.silent = cut
