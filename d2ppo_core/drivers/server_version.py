"""Asks a robot, or its hand, which version it speaks, without taking it over."""

import socket
import struct

from d2ppo_core.errors import RobotError, RobotUnreachableError

ROBOT_PORT, GRIPPER_PORT = 1337, 1338
_LIMIT_S = 3.0
_HEADER = struct.Struct("<III")  # command, command id, total size
_REQUEST = struct.Struct("<HH")  # version, UDP port of the client
_REPLY = struct.Struct("<BH")  # status, version of the server


def server_version(address: str, port: int = ROBOT_PORT, limit_s: float = _LIMIT_S) -> int:
    """Return the version of the server at ``address``.

    It asks for version 0, which no server speaks: the server names its own version and refuses.

    Raises:
        RobotUnreachableError: Nobody answers now; it may be starting, off, without FCI or busy with another client.
        RobotError: The address is none, or who answers is no Franka robot: waiting cures neither.
    """
    what = "robot" if port == ROBOT_PORT else "gripper"
    try:
        reply = _ask(address, port, limit_s)
    except (socket.gaierror, UnicodeError) as error:
        raise RobotError(f"robot_address: there is no host {address!r} ({_reason(error)})") from error
    except OSError as error:
        raise RobotUnreachableError(no_answer(what, f"{address}:{port}", _reason(error))) from error
    command, _, size = _HEADER.unpack_from(reply)
    if (command, size) != (0, _HEADER.size + _REPLY.size):
        said = ascii(reply[:12].decode("latin-1"))
        raise RobotError(f"what answers at {address}:{port} is no Franka {what} (it says {said}); check robot_address")
    return int(_REPLY.unpack_from(reply, _HEADER.size)[1])


def no_answer(what: str, where: str, reason: str) -> str:
    """Tell that nobody answers, and what to look at."""
    if what == "gripper":
        return f"no gripper answers at {where} ({reason}); check that the hand is mounted and initialised in Desk"
    return f"no robot answers at {where} ({reason}); check power, network, FCI in Desk, and that no other client is on"


def _ask(address: str, port: int, limit_s: float) -> bytes:
    with socket.create_connection((address, port), timeout=limit_s) as connection:
        size = _HEADER.size + _REQUEST.size
        connection.sendall(_HEADER.pack(0, 0, size) + _REQUEST.pack(0, 0))
        wanted, answer = _HEADER.size + _REPLY.size, b""
        while len(answer) < wanted:
            part = connection.recv(wanted - len(answer))
            if not part:
                raise ConnectionError("it closed the connection without an answer")
            answer += part
    return answer


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
