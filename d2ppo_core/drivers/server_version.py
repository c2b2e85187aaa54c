"""Asks a robot, or its hand, which version it speaks, without taking it over."""

import socket
import struct
from dataclasses import dataclass

from d2ppo_core.errors import RobotError, RobotUnreachableError

ROBOT_PORT, GRIPPER_PORT = 1337, 1338
_LIMIT_S = 3.0
_REQUEST = struct.Struct("<HH")  # version, UDP port of the client


@dataclass(frozen=True)
class _Wire:
    """How one server speaks: its header (command, command id, total size) and its reply (status, own version)."""

    what: str
    header: struct.Struct
    reply: struct.Struct


_WIRES = {
    ROBOT_PORT: _Wire("robot", struct.Struct("<III"), struct.Struct("<BH")),
    GRIPPER_PORT: _Wire("gripper", struct.Struct("<HII"), struct.Struct("<HH")),
}


def server_version(address: str, port: int = ROBOT_PORT, limit_s: float = _LIMIT_S) -> int:
    """Return the version of the server at ``address``.

    It asks for version 0, which no server speaks: the server names its own version and refuses.

    Raises:
        RobotUnreachableError: Nobody answers now; it may be starting, off, without FCI or busy with another client.
        RobotError: The address is none, or who answers is no Franka robot: waiting cures neither.
    """
    wire = _WIRES[port]
    try:
        answer = _ask(address, port, wire, limit_s)
    except (socket.gaierror, UnicodeError) as error:
        raise RobotError(f"robot_address: there is no host {address!r} ({_reason(error)})") from error
    except OSError as error:
        raise RobotUnreachableError(no_answer(wire.what, f"{address}:{port}", _reason(error))) from error
    command, _, size = wire.header.unpack_from(answer)
    if (command, size) != (0, wire.header.size + wire.reply.size):
        said = ascii(answer[:12].decode("latin-1"))
        text = f"what answers at {address}:{port} is no Franka {wire.what} (it says {said}); check robot_address"
        raise RobotError(text)
    return int(wire.reply.unpack_from(answer, wire.header.size)[1])


def no_answer(what: str, where: str, reason: str) -> str:
    """Tell that nobody answers, and what to look at."""
    if what == "gripper":
        return f"no gripper answers at {where} ({reason}); check that the hand is mounted and initialised in Desk"
    return f"no robot answers at {where} ({reason}); check power, network, FCI in Desk, and that no other client is on"


def _ask(address: str, port: int, wire: _Wire, limit_s: float) -> bytes:
    with socket.create_connection((address, port), timeout=limit_s) as connection:
        connection.sendall(wire.header.pack(0, 0, wire.header.size + _REQUEST.size) + _REQUEST.pack(0, 0))
        wanted, answer = wire.header.size + wire.reply.size, b""
        while len(answer) < wanted:
            part = connection.recv(wanted - len(answer))
            if not part:
                raise ConnectionError("it closed the connection without an answer")
            answer += part
    return answer


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
