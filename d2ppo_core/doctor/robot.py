"""The robot's end of the network: free ports for a simulated one, an answer and a fitting client for a real one."""

from __future__ import annotations

import errno
import re
import socket
import struct
from importlib.metadata import PackageNotFoundError, files, version

from d2ppo_core.doctor.finding import Finding, fail, ok, warn

ROBOT_PORT, GRIPPER_PORT = 1337, 1338
CONNECT_LIMIT_S = 3.0
PANDA_WHEEL = (
    "pip install franky-control --extra-index-url https://timschneider42.github.io/franky/whl/by-robot-server-version"
)
SERVER_OF_LIBFRANKA = {(0, 9): 5, (0, 21): 10}
"""Robot-server version that a libfranka release speaks, as far as it was tried."""

_HEADER = struct.Struct("<III")  # command, command id, total size
_CONNECT_REQUEST = struct.Struct("<HH")  # version, UDP port of the client
_CONNECT_REPLY = struct.Struct("<BH")  # status, version of the server


def check_ports_free(address: str) -> Finding:
    """The simulated robot and gripper can listen on ``address``."""
    name = "Robot ports"
    for port in (ROBOT_PORT, GRIPPER_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    reason = "is in use; end the program that listens there or choose another robot_address"
                else:
                    reason = f"cannot be used ({error.strerror or error}); choose a loopback address as robot_address"
                return fail(name, f"{address}:{port} {reason}")
    return ok(name, f"{address}:{ROBOT_PORT} and :{GRIPPER_PORT} are free")


def server_version(address: str, limit_s: float = CONNECT_LIMIT_S) -> int:
    """Return the version of the robot server at ``address``, without taking the robot over.

    It asks for version 0, which no server speaks: the server names its own version and refuses.

    Raises:
        OSError: nobody answers.
    """
    with socket.create_connection((address, ROBOT_PORT), timeout=limit_s) as connection:
        size = _HEADER.size + _CONNECT_REQUEST.size
        connection.sendall(_HEADER.pack(0, 0, size) + _CONNECT_REQUEST.pack(0, 0))
        wanted = _HEADER.size + _CONNECT_REPLY.size
        answer = b""
        while len(answer) < wanted:
            part = connection.recv(wanted - len(answer))
            if not part:
                raise ConnectionError("it closed the connection without an answer")
            answer += part
    return int(_CONNECT_REPLY.unpack_from(answer, _HEADER.size)[1])


def check_robot_answers(address: str) -> Finding:
    """A robot server answers at ``address`` and speaks what the installed franky speaks."""
    name = "Robot"
    try:
        found = server_version(address)
    except OSError as error:
        reason = f"no robot answers at {address}:{ROBOT_PORT} ({error})"
        return fail(name, f"{reason}; check power, network, FCI in Desk, and that no other client is connected")
    ours = installed_server_version()
    if ours is not None and ours != found:
        text = f"the robot speaks server version {found}, the installed franky {ours}"
        return fail(name, f"{text}; run: {PANDA_WHEEL}/{found}/")
    return ok(name, f"{address} answers, server version {found}")


def installed_libfranka() -> str | None:
    """Return the version of the libfranka inside the franky wheel; None when it cannot be told."""
    try:
        names = [path.name for path in files("franky-control") or []]
    except PackageNotFoundError:
        return None
    versions = [match[1] for name in names if (match := re.search(r"libfranka[^/]*\.so\.(\d+\.\d+\.\d+)$", name))]
    return versions[0] if versions else None


def installed_server_version() -> int | None:
    """Return the robot-server version that the installed franky speaks; None when it cannot be told."""
    libfranka = installed_libfranka()
    if libfranka is None:
        return None
    major, minor, _ = (int(part) for part in libfranka.split("."))
    return SERVER_OF_LIBFRANKA.get((major, minor))


def check_franky() -> Finding:
    """The robot's client library is installed."""
    name = "franky"
    try:
        found = version("franky-control")
    except PackageNotFoundError:
        return fail(name, "franky-control is not installed; run: pip install 'd2ppo-panda[franka]'")
    libfranka, server = installed_libfranka() or "unknown", installed_server_version()
    text = f"{found} with libfranka {libfranka}"
    if server is None:
        return warn(name, f"{text}; its robot-server version is not known here, compare it with your robot's")
    return ok(name, f"{text}, robot-server version {server}")
