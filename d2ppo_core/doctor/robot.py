"""The robot's end of the network: free ports for a simulated one, an answer and a fitting client for a real one."""

from __future__ import annotations

import errno
import socket
from importlib.metadata import PackageNotFoundError, version

from d2ppo_core.compatibility import (
    FRANKA_RS,
    FRANKY,
    client_named,
    explain_mismatch,
    franka_rs_installed,
    franky_speaks,
    installed_libfranka,
)
from d2ppo_core.doctor.finding import Finding, fail, ok, warn
from d2ppo_core.drivers.server_version import GRIPPER_PORT, ROBOT_PORT, server_version
from d2ppo_core.errors import RobotError


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


def check_robot_answers(address: str) -> Finding:
    """A robot server answers at ``address`` and speaks what an installed client speaks."""
    name = "Robot"
    try:
        found = server_version(address)
    except RobotError as error:
        return fail(name, str(error))
    text = f"{address} answers, server version {found}"
    if found == franky_speaks():
        return ok(name, f"{text}; franky fits")
    if franka_rs_installed() and found in client_named(FRANKA_RS).servers:
        return ok(name, f"{text}; franka_rs fits (franky does not; see docs/lab/robot_client.md)")
    return fail(name, explain_mismatch(found, franky_speaks()))


def check_client() -> Finding:
    """A client for the robot is installed."""
    name = "Robot client"
    try:
        found = version(client_named(FRANKY).package)
    except PackageNotFoundError:
        if franka_rs_installed():
            speaks = " and ".join(str(server) for server in client_named(FRANKA_RS).servers)
            return ok(name, f"franka_rs {client_named(FRANKA_RS).version}, robot-server versions {speaks}; no franky")
        return fail(name, f"none is installed; run: {client_named(FRANKY).install_line}")
    libfranka, server = installed_libfranka() or "unknown", franky_speaks()
    text = f"franky {found} with libfranka {libfranka}"
    if server is None:
        return warn(name, f"{text}; its robot-server version is not known here, compare it with your robot's")
    second = ", and franka_rs" if franka_rs_installed() else ""
    return ok(name, f"{text}, robot-server version {server}{second}")
