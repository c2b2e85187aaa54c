"""The same franky program on franky-sim, a server that others wrote, ends where it ends here.

D2PPO_FRANKY_SIM may name a server of another version, in an environment of its own.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from sim.fci.wire import ROBOT_PORT

pytest.importorskip("franky", reason="needs franky-control (extra franka)")
OTHER_SERVER = os.environ.get("D2PPO_FRANKY_SIM") or shutil.which("franky-sim")
pytestmark = [
    pytest.mark.skipif(OTHER_SERVER is None, reason="needs franky-sim (extra dev)"),
    pytest.mark.timeout(180),
]


def program(address, client_script):
    command = [sys.executable, str(client_script), address]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout
    return json.loads(output)


def test_both_servers_bring_the_arm_to_the_same_places(robot_address, start, client_script):
    command = [OTHER_SERVER, "--simulator", "mujoco", "--hostname", robot_address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as other:
        deadline = time.monotonic() + 60.0
        while socket.socket().connect_ex((robot_address, ROBOT_PORT)):
            assert time.monotonic() < deadline, "franky-sim does not come up"
            time.sleep(0.5)
        time.sleep(1.0)
        theirs = program(robot_address, client_script)
        other.kill()
    server = start(robot_address)
    try:
        ours = program(robot_address, client_script)
    finally:
        server.terminate()
        server.wait(10)
    assert list(ours) == list(theirs)
    for name in ("joint", "joint waypoints"):
        assert np.allclose(ours[name]["q"], theirs[name]["q"], atol=0.01), name  # rad; theirs lags
    for name in ("pose", "pose, relative", "twist"):
        assert np.allclose(ours[name]["moved"], theirs[name]["moved"], atol=3e-3), name  # m
    assert np.allclose(ours["joint velocity"]["moved"], theirs["joint velocity"]["moved"], atol=0.01)
    for hand in (ours["hand"], theirs["hand"]):
        assert hand["homing"] and hand["move"] and abs(hand["width"] - 0.03) < 2e-3
