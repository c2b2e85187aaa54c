"""The panel's page and WebSocket by a client over TCP: who may steer, who only watches, who is turned away."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (extra ros)")
pytest.importorskip("websockets", reason="needs websockets (extra panel)")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from d2ppo_core.errors import DeviceError  # noqa: E402
from d2ppo_core.runtime.teleop.panel import PagePort  # noqa: E402
from d2ppo_nodes.panel_server import PanelServer, is_loopback  # noqa: E402

HOLD = json.dumps({"held": True, "deflection": [1, 0, 0, 0, 0, 0]})


@pytest.fixture
def pages() -> PagePort:
    return PagePort()


@pytest.fixture
def server(pages: PagePort) -> Iterator[PanelServer]:
    server = PanelServer("127.0.0.1", 0, pages, lambda: {"arm": None, "note": "hello"})
    yield server
    server.close()


def joined(server: PanelServer, **options) -> ClientConnection:
    host = f"127.0.0.1:{server.port}"
    options.setdefault("origin", f"http://{host}")
    token = f"?token={server.token}" if server.token else ""
    return connect(f"ws://{host}/ws{token}", **options)


def read(pages: PagePort, wanted: bytes | None) -> None:
    until_s = time.monotonic() + 5.0
    while (got := pages.read()) != wanted:
        assert time.monotonic() < until_s, got
        time.sleep(0.01)


def test_the_page_is_one_file_that_asks_nobody_else(server):
    with urllib.request.urlopen(server.url) as answer:
        page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    assert "EMERGENCY STOP" in page and "default-src 'self'" in policy
    assert "https://" not in page and "http://" not in page
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.url}other")


def test_the_first_page_steers_and_gets_states_and_pictures(server, pages):
    server.pictures["wrist"] = 1, np.zeros((8, 8, 3), np.uint8)
    with joined(server) as page:
        told = json.loads(page.recv(5.0))
        assert told["steers"] and told["note"] == "hello" and told["cameras"] == ["wrist"]
        picture = page.recv(5.0)
        assert picture.startswith(b"wrist\0\xff\xd8")
        page.send(HOLD)
        read(pages, HOLD.encode())
    read(pages, None)


def test_a_second_page_watches_and_may_only_stop_the_arm(server, pages):
    with joined(server) as first, joined(server) as second:
        assert json.loads(first.recv(5.0))["steers"] != json.loads(second.recv(5.0))["steers"]
        second.send(HOLD)
        second.send(json.dumps({"held": True, "pressed": ["start", "stop"]}))
        read(pages, b'{"held": false, "pressed": ["stop"]}')
        first.send(HOLD)
        read(pages, HOLD.encode())
    read(pages, None)
    with joined(server) as third:
        assert json.loads(third.recv(5.0))["steers"], "who comes when nobody steers"


def test_a_connection_that_is_cut_without_a_word_lets_go(server, pages):
    with joined(server) as page:
        page.send(HOLD)
        read(pages, HOLD.encode())
        page.socket.close()
        read(pages, None)


@pytest.mark.parametrize("origin", ["http://evil.example", None, "http://evil.example:80"])
def test_pages_of_others_may_not_steer(server, origin):
    with pytest.raises(InvalidStatus, match="403"):
        joined(server, origin=origin)


def test_a_name_that_somebody_gave_this_address_is_no_way_in(server):
    with pytest.raises(InvalidStatus, match="403"):
        joined(server, origin="http://evil.example", additional_headers={"Host": "evil.example"})


def test_beyond_loopback_nothing_is_given_without_the_token(pages):
    server = PanelServer("0.0.0.0", 0, pages, dict)
    try:
        address = f"http://127.0.0.1:{server.port}/"
        for bad in ("", "?token=", "?token=guess"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(address + bad)
        assert "EMERGENCY" in urllib.request.urlopen(f"{address}?token={server.token}").read().decode()
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{server.port}/ws", origin=address[:-1])
        with joined(server) as page:
            assert json.loads(page.recv(5.0))["steers"]
    finally:
        server.close()


def test_a_message_that_is_too_long_ends_the_connection(server, pages):
    with joined(server) as page:
        page.send(b"x" * 100_000)
        with pytest.raises(ConnectionClosed):
            while True:
                page.recv(5.0)
    read(pages, None)


def test_a_port_that_is_taken_is_one_line(server, pages):
    with pytest.raises(DeviceError, match=f"the panel cannot be served on 127.0.0.1:{server.port}: Address already"):
        PanelServer("127.0.0.1", server.port, pages, dict)


def test_what_counts_as_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.3.2.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.2", "robot.local")))
