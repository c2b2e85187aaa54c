"""The panel beside a live stack: a browser's messages move the arm, a cut connection stops it, a browser shows it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.request import urlopen

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")
pytest.importorskip("websockets", reason="needs websockets (extra panel)")

from websockets.sync.client import ClientConnection, connect  # noqa: E402

from d2ppo_core.stack.loader import load_stack  # noqa: E402
from d2ppo_core.stack.runner import Stack  # noqa: E402
from d2ppo_interfaces.msg import ArmState  # noqa: E402
from d2ppo_nodes.client import StackClient, client_of  # noqa: E402
from d2ppo_nodes.convert import twist_of  # noqa: E402

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]


@pytest.fixture(scope="module")
def stack(module_address: str, ros_domain_id: int) -> Iterator[Stack]:
    chosen = {"robot_address": module_address, "policy": False}
    with Stack(load_stack("sim", chosen), domain_id=ros_domain_id) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[StackClient]:
    os.environ.update({k: v for k, v in stack.environment.items() if k.startswith(("ROS_", "FASTRTPS_"))})
    client = client_of(stack.description)
    client.spin_until(lambda: client.arm, 90.0, "the stack", stack.check)
    yield client
    client.close()


@pytest.fixture(scope="module")
def address(stack: Stack, client: StackClient) -> Iterator[str]:
    """Where the panel is, as the verb's log says it."""
    command = [sys.executable, "-m", "d2ppo_core.cli.main", "panel", "--port", "0"]
    verb = subprocess.Popen(command, env=stack.environment, stderr=subprocess.PIPE, text=True)
    assert verb.stderr is not None
    line = next(line for line in verb.stderr if "the panel is at" in line or "FATAL" in line)
    yield re.findall(r"http://(\S+)/", line)[0]
    verb.terminate()
    _, rest = verb.communicate(timeout=20)
    assert verb.returncode == 0 and "Traceback" not in rest, rest


def wait(client: StackClient, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    client.spin_until(lambda: time.monotonic() > until_s, seconds + 5.0, "time")


def hold(client: StackClient, page: ClientConnection, seconds: float, *deflection: float) -> None:
    """Say what a page says while something is held."""
    for _ in range(round(seconds / 0.04)):
        page.send(json.dumps({"held": True, "deflection": deflection}))
        wait(client, 0.04)


def test_a_page_homes_starts_and_moves_the_arm_and_a_cut_connection_stops_it(client, address):
    with connect(f"ws://{address}/ws", origin=f"http://{address}") as page:
        page.send(json.dumps({"held": False, "pressed": ["home"]}))
        client.spin_until(lambda: client.arm.reason == "homing", 20.0, "the arm to home")
        client.spin_until(lambda: client.arm.state == ArmState.READY, 40.0, "home")
        page.send(json.dumps({"held": False, "pressed": ["start", "faster"]}))
        client.spin_until(lambda: client.arm.state == ArmState.RUNNING, 20.0, "start")
        hold(client, page, 0.8, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
        assert client.arm.by_hand and client.arm.reference_twist.linear.z > 0.1
        cut_s = time.monotonic()
        page.socket.close()
    client.spin_until(lambda: not client.arm.by_hand, 5.0, "the arm to notice")
    client.spin_until(lambda: np.abs(twist_of(client.arm.reference_twist)).max() < 1e-3, 5.0, "the arm to rest")
    print(f"cut to rest: {1e3 * (time.monotonic() - cut_s):.0f} ms")
    assert client.arm.state == ArmState.HOLDING


def test_a_page_that_falls_silent_has_let_go(client, address):
    with connect(f"ws://{address}/ws", origin=f"http://{address}") as page:
        hold(client, page, 0.4, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0)
        assert client.arm.by_hand
        quiet_s = time.monotonic()
        client.spin_until(lambda: not client.arm.by_hand, 5.0, "the arm to notice")
        client.spin_until(lambda: np.abs(twist_of(client.arm.reference_twist)).max() < 1e-3, 5.0, "the arm to rest")
        print(f"last message to rest: {1e3 * (time.monotonic() - quiet_s):.0f} ms")


class Browser:
    """Chromium without a window, driven by its own protocol."""

    def __init__(self, folder, address: str) -> None:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
        command = [shutil.which("chromium"), *options, f"--user-data-dir={folder}", f"http://{address}/"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = next(line for line in self._process.stderr if "DevTools listening" in line)
        port = re.findall(r":(\d+)/", line)[0]
        (page,) = [one for one in self._pages(port) if one["type"] == "page"]
        self._tab = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._socket, self._number = self._tab.__enter__(), 0

    @staticmethod
    def _pages(port: str) -> list[dict[str, str]]:
        with urlopen(f"http://127.0.0.1:{port}/json") as answer:
            return json.load(answer)

    def ask(self, method: str, **parameters):
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(10.0))).get("id") != self._number:
            pass
        return answer["result"]

    def value(self, expression: str):
        return self.ask("Runtime.evaluate", expression=expression)["result"].get("value", "")  # "" while it loads

    def key(self, kind: str, key: str) -> None:
        self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=f"Key{key.upper()}", text=key)

    def close(self) -> None:
        self._tab.__exit__(None, None, None)
        self._process.terminate()
        self._process.wait(10)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_shows_arm_and_cameras_and_its_keys_move_the_arm(client, address, tmp_path):
    browser = Browser(tmp_path, address)
    try:
        text = "document.getElementById('state').textContent + ' ' + document.getElementById('more').textContent"
        client.spin_until(lambda: browser.value(text).startswith("HOLDING"), 20.0, "the page to know the arm")
        assert "another page" not in browser.value(text)
        shown = "[...document.querySelectorAll('#cameras img')].filter((one) => one.naturalWidth > 0).length"
        client.spin_until(lambda: browser.value(shown) == 1, 20.0, "a picture of the camera")
        browser.key("keyDown", "r")
        client.spin_until(lambda: client.arm.by_hand, 10.0, "the key to take the arm")
        wait(client, 0.5)
        assert client.arm.by_hand and client.arm.reference_twist.linear.z > 0.01, "held without repeats"
        browser.key("keyUp", "r")
        client.spin_until(lambda: not client.arm.by_hand, 10.0, "the key to let go")
        browser.ask("Runtime.evaluate", expression="document.getElementById('estop').click()")
        client.spin_until(lambda: client.arm.state == ArmState.ESTOPPED, 10.0, "the emergency stop")
        client.spin_until(lambda: browser.value(text).startswith("ESTOPPED"), 10.0, "the page to say so")
        browser.ask("Runtime.evaluate", expression="document.querySelector('[data-press=clear_estop]').click()")
        client.spin_until(lambda: client.arm.state == ArmState.IDLE, 10.0, "it to be cleared")
    finally:
        browser.close()
