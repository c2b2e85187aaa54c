"""The hand's server: homing, move, grasp and stop through the world's finger actuators, in simulated time."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from sim.fci import wire
from sim.fci.connection import Connection, accept, listen
from sim.fci.motion import Arm
from sim.fci.wire import GripperCommand, GripperStatus
from sim.world.fingers import MAX_FORCE_N, MAX_SPEED_M_S, MAX_WIDTH_M

TEMPERATURE_C = 30
STILL_M_S = 2e-3
STILL_NS = 60_000_000
"""Fingers this slow for this long have arrived or are held back."""
ARRIVED_M = 2e-3
_BAD_CLIENT = (ConnectionError, struct.error, ValueError)
"""It went away, or is none of this version."""


@dataclass
class _Job:
    """A command under way."""

    command: GripperCommand
    request_id: int
    width_m: float
    speed_m_s: float
    force_n: float = MAX_FORCE_N
    accepted_m: tuple[float, float] = (-math.inf, math.inf)
    """Measured width that counts as success."""
    still_since_ns: int = 0

    @property
    def possible(self) -> bool:
        """Whether all that was asked for are numbers."""
        return not any(map(math.isnan, (self.width_m, self.speed_m_s, self.force_n, *self.accepted_m)))


class GripperServer:
    """Serves the fingers of one world; `pump` is called by whoever advances that world."""

    def __init__(self, world: Arm, address: str = "127.0.0.1", *, exposed: bool = False) -> None:
        """Open the port, to other machines only if it is `exposed`; raises WorldError when it is taken."""
        self.silent = False
        """Whether the network is cut."""
        self.orders = 0
        """How many motions the present client has asked for."""
        self._world, self._address = world, address
        self._listener = listen(address, wire.GRIPPER_PORT, exposed=exposed)
        self._connection: Connection | None = None
        self._newcomer: Connection | None = None
        self._job: _Job | None = None
        self._held_m = (math.inf, -math.inf)

    @property
    def is_grasped(self) -> bool:
        """Whether the last grasp succeeded and the object is still between the fingers."""
        low, high = self._held_m
        return low < self._world.fingers.width_m < high

    def pump(self) -> None:
        """Accept, answer and report; call it every 10 ms or so."""
        if self.silent:
            return
        self._accept()
        for peer in (self._newcomer, self._connection):
            try:
                if peer is not None:
                    self._serve(peer)
            except _BAD_CLIENT:
                self._drop(peer)

    def abort(self) -> None:
        """End the motion under way, as a stop does that is on its way."""
        if self._connection is not None:
            self._finish(self._connection, GripperStatus.ABORTED)

    def close(self) -> None:
        """Let the port go."""
        for peer in (self._newcomer, self._connection):
            self._drop(peer)
        self._listener.close()

    def _accept(self) -> None:
        peer = accept(self._listener, self._address, wire.GRIPPER_HEADER)
        if peer is not None:
            self._drop(self._newcomer)
            self._newcomer = peer

    def _serve(self, peer: Connection) -> None:
        if peer not in (self._newcomer, self._connection):
            return  # dropped in this very moment, for a newer one
        for number, request_id, payload in peer.requests():
            self._handle(peer, number, request_id, payload)
        if peer.ready:
            self._send_state(peer)
            self._check_job(peer)
        elif peer.mute:
            self._drop(peer)

    def _drop(self, peer: Connection | None) -> None:
        if peer is None:
            return
        peer.close()
        if peer is self._newcomer:
            self._newcomer = None
        if peer is self._connection:
            self._connection, self._job = None, None

    def _send_state(self, connection: Connection) -> None:
        clock_ms, width = self._world.time_ns // 1_000_000, self._world.fingers.width_m
        connection.send_state(wire.GRIPPER_STATE.pack(clock_ms, width, MAX_WIDTH_M, self.is_grasped, TEMPERATURE_C))

    def _handle(self, connection: Connection, number: int, request_id: int, payload: bytes) -> None:
        command = GripperCommand(number)
        if command is GripperCommand.CONNECT:
            wanted, udp_port = wire.CONNECT_REQUEST.unpack(payload)
            known = wanted == wire.GRIPPER_VERSION
            if known:
                connection.greet(udp_port)
                if connection is self._newcomer:  # a hand serves the newest client
                    self._drop(self._connection)
                    self._connection, self._newcomer, self.orders = connection, None, 0
            answer = wire.GRIPPER_CONNECT_REPLY.pack(not known, wire.GRIPPER_VERSION)
            connection.reply(command, request_id, answer)
            return
        if not connection.ready:
            raise ConnectionAbortedError("a client says hello first")
        job = None if command is GripperCommand.STOP else _job_of(command, request_id, payload)
        self.orders += job is not None
        if job is not None and not job.possible:
            connection.reply(command, request_id, wire.GRIPPER_REPLY.pack(GripperStatus.FAIL))
            return
        self._finish(connection, GripperStatus.ABORTED)
        if job is None:
            self._world.fingers.hold()
            connection.reply(command, request_id, wire.GRIPPER_REPLY.pack(GripperStatus.SUCCESS))
            return
        self._held_m = (math.inf, -math.inf)
        self._job = job
        self._start(job)

    def _start(self, job: _Job) -> None:
        job.still_since_ns = self._world.time_ns
        self._world.fingers.command(job.width_m, job.speed_m_s, job.force_n)

    def _check_job(self, connection: Connection) -> None:
        job, fingers, now_ns = self._job, self._world.fingers, self._world.time_ns
        if job is None:
            return
        if abs(fingers.speed_m_s) > STILL_M_S:
            job.still_since_ns = now_ns
        if now_ns - job.still_since_ns < STILL_NS or not fingers.pressing:
            return
        if job.command is GripperCommand.HOMING and job.width_m == 0.0:
            job.width_m, job.accepted_m = MAX_WIDTH_M, (MAX_WIDTH_M - ARRIVED_M, math.inf)
            self._start(job)
            return
        low, high = job.accepted_m
        success = low < fingers.width_m < high
        if success and job.command is GripperCommand.GRASP:
            self._held_m = job.accepted_m
        self._finish(connection, GripperStatus.SUCCESS if success else GripperStatus.UNSUCCESSFUL)

    def _finish(self, connection: Connection, status: GripperStatus) -> None:
        if self._job is not None:
            connection.reply(self._job.command, self._job.request_id, wire.GRIPPER_REPLY.pack(status))
            self._job = None


def _job_of(command: GripperCommand, request_id: int, payload: bytes) -> _Job:
    if command is GripperCommand.MOVE:
        width, speed = wire.GRIPPER_MOVE_REQUEST.unpack(payload)
        near = (min(width, MAX_WIDTH_M) - ARRIVED_M, max(width, 0.0) + ARRIVED_M)
        return _Job(command, request_id, width, speed, accepted_m=near)
    if command is GripperCommand.GRASP:
        width, inner, outer, speed, force = wire.GRIPPER_GRASP_REQUEST.unpack(payload)
        return _Job(command, request_id, 0.0, speed, force, accepted_m=(width - inner, width + outer))
    return _Job(command, request_id, 0.0, MAX_SPEED_M_S)
