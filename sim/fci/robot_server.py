"""The arm's server: real Franka clients connect to it as to a robot, and the world moves by what they command."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

import numpy as np

from d2ppo_core.errors import WorldError
from sim.fci import wire
from sim.fci.connection import Connection, listen
from sim.fci.gripper_server import GripperServer
from sim.fci.kinematics import ArmKinematics
from sim.fci.motion import (
    CartesianMotion,
    JointController,
    JointMotion,
    Motion,
    Reference,
    ReflexError,
    TorqueMotion,
)
from sim.fci.state import StateBuffer
from sim.fci.urdf import robot_urdf
from sim.fci.wire import Controller, Error, Generator, RobotMode
from sim.pace import Pacer
from sim.world import World

CYCLE_S = 1e-3
LOST_COMMANDS_TO_REFLEX = 20
GRIPPER_CYCLES = 10
KEEP_ALIVE_S = 0.05
"""Clients give up after a second of silence, so a paused robot repeats its state."""
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
        self._gripper, self._on_step = gripper, on_step
        self._lockstep, self._patience_s = lockstep, patience_s
        self._kinematics = ArmKinematics(world.model)
        self._inner = JointController(world)
        self._reference = Reference(q_rad=world.q_rad.copy(), pose=self._kinematics.pose(world.q_rad))
        self._state = StateBuffer(self._protocol, world)
        self._command_bytes = bytearray(self._protocol.command.itemsize)
        self._command = wire.field_views(self._command_bytes, self._protocol.command)
        self._collision_nm, self._collision_n = np.full(7, np.inf), np.full(6, np.inf)
        self._tau = np.zeros(7)
        self._mode = RobotMode.IDLE
        self._connection: Connection | None = None
        self._motion: Motion | None = None
        self._move_id: int | None = None
        self._ending: tuple[int, int] | None = None
        self._started = False
        self._first_message = 0
        self._lost = 0
        self._cycles = 0
        self._paused_steps: int | None = None
        self._calls: SimpleQueue[tuple[Callable[[], object], Future]] = SimpleQueue()
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
        answered = self._wait(deadline)
        self._tau = self._next_torque(answered)
        self.world.step(self._tau)
        self._cycles += 1
        if self._paused_steps:
            self._paused_steps -= 1
        if self._gripper is not None and self._cycles % GRIPPER_CYCLES == 0:
            self._gripper.pump()
        for hook in self._on_step:
            hook(self.world)
        if self._cycles % 100 == 0:
            self._measure_rate()

    def call(self, function: Callable[[], _Result], timeout_s: float = 2.0) -> _Result:
        """Run `function` between two cycles, from any thread; returns what it returns."""
        future: Future = Future()
        self._calls.put((function, future))
        result: _Result = future.result(timeout_s)
        return result

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

    def place_arm(self, q_rad: np.ndarray, width_m: float) -> None:
        """Teleport the arm, at rest; a running motion is cut off."""
        if self._motion is not None:
            self._end_motion("preempted")
        self.world.place_arm(q_rad, width_m)
        self._rest_at(self.world.q_rad)

    def close(self) -> None:
        """Let the port go."""
        self._drop_client()
        self._listener.close()
        if self._gripper is not None:
            self._gripper.close()

    # --- one cycle ---------------------------------------------------------------------------------------------

    def _run_calls(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                function, future = self._calls.get_nowait()
                try:
                    future.set_result(function())
                except Exception as error:  # the caller's thread gets it
                    future.set_exception(error)

    def _stay_paused(self) -> None:
        if self._connection is not None and self._connection.ready:
            with contextlib.suppress(ConnectionError):
                self._connection.send_state(self._state.bytes)
        if self._gripper is not None:
            self._gripper.pump()
        self._serve(select.select(self._sockets(), (), (), KEEP_ALIVE_S)[0])

    def _send_state(self) -> None:
        pose = self.world.ee_pose() @ self._kinematics.ne_T_ee
        external = np.abs(self.world.tau_ext_nm).max() > 0.02
        if external or self._cycles % 20 == 0:
            self._sense(pose)
        message_id = self._cycles + 1
        state = self._state.write(message_id, self._reference, self._motion, self._mode, pose, self._tau)
        connection = self._connection
        if connection is None or not connection.ready:
            return
        try:
            connection.send_state(state)
            if self._ending is not None:  # the client wants to see the idle state before the answer to its Move
                request_id, status = self._ending
                self._ending = None
                connection.reply(self._protocol.requests.index("Move"), request_id, bytes((status,)))
        except ConnectionError:
            self._drop_client()

    def _sense(self, pose: np.ndarray) -> None:
        """External wrench from the external torques; collisions stop a motion."""
        self._kinematics.pose(self.world.q_rad)
        jacobian = self._kinematics.jacobian(pose)
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-6
        wrench = np.linalg.solve(gram, jacobian @ self.world.tau_ext_nm)
        self._state.write_wrench(wrench, pose)
        if self._motion is None:
            return
        if (np.abs(self.world.tau_ext_nm) > self._collision_nm).any():
            self._reflex(Error.JOINT_REFLEX)
        elif (np.abs(wrench) > self._collision_n).any():
            self._reflex(Error.CARTESIAN_REFLEX)

    def _wait(self, deadline: float) -> bool:
        """Serve the sockets until the deadline and, in lock-step, until the command; tells whether it came."""
        answered = False
        while True:
            now = time.perf_counter()
            waits = self._lockstep and self._started and not answered
            until = deadline + self._patience_s if waits and self._lost == 0 else deadline
            ready = select.select(self._sockets(), (), (), max(0.0, until - now))[0]
            if not ready:
                return answered
            if self._serve(ready):
                answered = True
                self.statistics.commands_late += time.perf_counter() > deadline + CYCLE_S

    def _next_torque(self, answered: bool) -> np.ndarray:
        motion = self._motion
        if motion is None or not (answered or self._started):
            return self._inner.torque(self._reference)
        try:
            if not answered:
                self._count_lost()
                return motion.torque(None)
            self._started, self._lost = True, 0
            command = self._command
            if command["motion_finished"] or ("torque_finished" in command and command["torque_finished"]):
                self._end_motion("success")
                return self._inner.torque(self._reference)
            return motion.torque(command)
        except ReflexError as reflex:
            self._reflex(reflex.error)
            return self._inner.torque(self._reference)

    def _count_lost(self) -> None:
        self._lost += 1
        self.statistics.commands_lost += 1
        if self._lost >= LOST_COMMANDS_TO_REFLEX:
            raise ReflexError(Error.COMMUNICATION)

    def _measure_rate(self) -> None:
        now, (wall, simulated_ns) = time.perf_counter(), self._rate_from
        if now - wall >= 1.0:
            self.statistics.real_time_factor = (self.world.time_ns - simulated_ns) * 1e-9 / (now - wall)
            self._rate_from = (now, self.world.time_ns)

    # --- motions -------------------------------------------------------------------------------------------------

    def _start_motion(self, request_id: int, controller: int, generator: int) -> None:
        mode, world = Generator(generator + 1), self.world
        self._rest_at(self._reference.q_rad)
        if controller == Controller.EXTERNAL:
            self._motion = TorqueMotion(world, self._reference, mode)
        elif mode in (Generator.JOINT_POSITION, Generator.JOINT_VELOCITY):
            self._motion = JointMotion(self._kinematics, self._reference, self._inner, mode)
        else:
            self._motion = CartesianMotion(self._kinematics, self._reference, self._inner, mode)
        self._motion.controller = Controller(controller)
        self._mode, self._move_id = RobotMode.MOVE, request_id
        self._started, self._lost, self._first_message = False, 0, self._cycles + 1
        self._state.fields["reflex_reason"][:] = False

    def _end_motion(self, status: str, mode: RobotMode = RobotMode.IDLE) -> None:
        """Hold where the reference is; the answer to the Move goes out with the next state."""
        if self._move_id is not None:
            self._ending = (self._move_id, self._protocol.move_status[status])
        self._motion, self._move_id, self._started, self._mode = None, None, False, mode
        self._rest_at(self._reference.q_rad)

    def _reflex(self, error: Error) -> None:
        for flags in ("errors", "reflex_reason"):
            self._state.fields[flags][:] = False
            self._state.fields[flags][error] = True
        self._end_motion("reflex", RobotMode.REFLEX)

    def _rest_at(self, q_rad: np.ndarray) -> None:
        self._reference.q_rad = q_rad.copy()
        self._reference.pose = self._kinematics.pose(q_rad)
        self._reference.rest()

    # --- sockets -------------------------------------------------------------------------------------------------

    def _sockets(self) -> tuple[socket.socket, ...]:
        if self._connection is None:
            return (self._listener,)
        return (self._connection.udp, self._connection.tcp, self._listener)

    def _serve(self, ready: list[socket.socket]) -> bool:
        """Deal with sockets that have something to read; tells whether a command of the running motion came."""
        answered, connection = False, self._connection
        try:
            if connection is not None and connection.udp in ready:
                while connection.receive_into(self._command_bytes):
                    answered = self._motion is not None and self._command["message_id"] >= self._first_message
            if connection is not None and connection.tcp in ready:
                for request in connection.requests():
                    self._answer(connection, *request)
        except ConnectionError:
            self._drop_client()
            return False
        if self._listener in ready:
            self._accept()
        return answered

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
            self._connection = None
        self._end_motion("preempted", RobotMode.IDLE)
        self._ending = None
        self._state.fields["errors"][:] = False

    def _answer(self, connection: Connection, number: int, request_id: int, payload: bytes) -> None:
        name = self._protocol.request_name(number)
        handler = None if name is None else _HANDLERS.get(name)
        reply = b"\0" if handler is None else handler(self, connection, request_id, payload)
        connection.reply(number, request_id, reply)

    def _on_connect(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        wanted, udp_port = wire.CONNECT_REQUEST.unpack(payload)
        if wanted == self._protocol.version:
            connection.greet(udp_port)
        return wire.CONNECT_REPLY.pack(wanted != self._protocol.version, self._protocol.version)

    def _on_move(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        if self._mode is not RobotMode.IDLE:
            return bytes((self._protocol.move_status["not_possible"],))
        self._start_motion(request_id, *wire.MOVE_REQUEST.unpack_from(payload))
        return bytes((self._protocol.move_status["started"],))

    def _on_stop(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        if self._motion is not None:
            self._end_motion("preempted")
        return b"\0"

    def _on_recovery(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        self._state.fields["errors"][:] = False
        self._mode = RobotMode.IDLE
        return b"\0"

    def _on_model(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        return b"\0" + robot_urdf(self.world.model).encode()

    def _on_collision(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        values = wire.COLLISION_REQUEST.unpack(payload)
        self._collision_nm[:] = values[21:28]
        self._collision_n[:] = values[46:52]
        return b"\0"

    def _on_tool(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        fields, transform = self._state.fields, np.array(wire.FRAME_REQUEST.unpack(payload))
        fields["NE_T_EE"][:] = transform
        ne_T_ee = transform.reshape(4, 4).T
        fields["F_T_EE"][:] = (fields["F_T_NE"].reshape(4, 4).T @ ne_T_ee).ravel(order="F")
        self._kinematics.ne_T_ee = ne_T_ee
        self._rest_at(self._reference.q_rad)
        return b"\0"

    def _on_stiffness_frame(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        self._state.fields["EE_T_K"][:] = wire.FRAME_REQUEST.unpack(payload)
        return b"\0"

    def _on_load(self, connection: Connection, request_id: int, payload: bytes) -> bytes:
        mass, *rest = wire.LOAD_REQUEST.unpack(payload)
        for name, value in (("m_load", mass), ("F_x_Cload", rest[:3]), ("I_load", rest[3:])):
            self._state.fields[name][:] = value
        return b"\0"


_HANDLERS = {
    "Connect": RobotServer._on_connect,
    "Move": RobotServer._on_move,
    "StopMove": RobotServer._on_stop,
    "SetCollisionBehavior": RobotServer._on_collision,
    "SetEEToK": RobotServer._on_stiffness_frame,
    "SetNEToEE": RobotServer._on_tool,
    "SetLoad": RobotServer._on_load,
    "AutomaticErrorRecovery": RobotServer._on_recovery,
    "GetRobotModel": RobotServer._on_model,
}
"""Requests that do more than answer success."""
