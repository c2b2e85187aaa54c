"""Serves the operator's page and its one WebSocket, in a thread of its own; ROS stays outside."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from d2ppo_core.errors import DeviceError
from d2ppo_core.runtime.teleop.panel import PagePort
from d2ppo_nodes.convert import jpeg

Picture = npt.NDArray[np.uint8]
_PERIOD_S = 0.1
_QUALITY = 75
_HEAD = Headers({"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Connection": "close",
                 "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src blob:; connect-src 'self'",
                 "X-Frame-Options": "DENY"})  # fmt: skip
ALWAYS = ("stop", "estop")
"""What a page that only watches may press too."""


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class PanelServer:
    """One page steers, further ones watch; each gets what is told, ten times a second, and the cameras' pictures."""

    def __init__(self, host: str, port: int, pages: PagePort, tell: Callable[[], dict[str, Any]]) -> None:
        """Begin to serve.

        Args:
            host: address to bind to; beyond loopback a token is asked for.
            port: of the page; 0 takes a free one.
            pages: gets the messages of the page that steers.
            tell: returns what pages show; called in the server's threads.

        Raises:
            DeviceError: the port is taken, or the address is none of this machine's.
        """
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(16)
        self._pages, self._tell = pages, tell
        self.pictures: dict[str, tuple[int, Picture]] = {}
        """By camera: stamp in ns and (H, W, 3)."""
        self._steering = threading.Lock()
        self._page = files("d2ppo_nodes").joinpath("panel.html").read_bytes()
        try:
            self._server: Server = serve(self._talk, host, port, process_request=self._answer, max_size=4096)
        except OSError as error:
            raise DeviceError(f"the panel cannot be served on {host}:{port}: {error.strerror}") from None
        self.port = int(self._server.socket.getsockname()[1])
        self.url = f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")
        self._thread = threading.Thread(target=self._server.serve_forever, name="panel", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections and the server."""
        self._pages.close()
        self._server.shutdown()
        self._thread.join(2.0)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse strangers; the page by plain HTTP, the rest is the WebSocket's handshake."""
        url = urlsplit(request.path)
        given = parse_qs(url.query).get("token", [""])[0]
        if self.token and not secrets.compare_digest(given.encode(), self.token.encode()):
            return connection.respond(HTTPStatus.FORBIDDEN, "the panel's address carries a token: see the node's log\n")
        if url.path == "/":
            return Response(HTTPStatus.OK, "OK", _HEAD, self._page)
        if url.path != "/ws":
            return connection.respond(HTTPStatus.NOT_FOUND, "there is one page, at /\n")
        origin = urlsplit(request.headers.get("Origin", ""))
        # A page of somebody else's may open a WebSocket to here too, or give this address a name of its own.
        if [origin.netloc] != request.headers.get_all("Host") or not (self.token or is_loopback(origin.hostname or "")):
            return connection.respond(HTTPStatus.FORBIDDEN, "pages of others may not steer\n")
        return None

    def _talk(self, connection: ServerConnection) -> None:
        steers = self._steering.acquire(blocking=False)
        teller = threading.Thread(target=self._show, args=(connection, steers), daemon=True)
        teller.start()
        try:
            if steers:
                self._pages.connected = True
            for message in connection:
                data = message if isinstance(message, bytes) else message.encode()
                if steers:
                    self._pages.push(data)
                elif pressed := _always(data):
                    self._pages.push(pressed, urgent=True)
        except ConnectionClosed:
            pass
        finally:
            if steers:
                self._pages.connected = False
                self._steering.release()

    def _show(self, connection: ServerConnection, steers: bool) -> None:
        """Tell a page until it is gone; a slow one gets less, never late pictures."""
        shown: dict[str, int] = {}
        try:
            while True:
                connection.send(json.dumps({**self._tell(), "steers": steers, "cameras": sorted(self.pictures)}))
                for camera, (stamp_ns, picture) in sorted(self.pictures.items()):
                    if shown.get(camera) != stamp_ns:
                        shown[camera] = stamp_ns
                        connection.send(camera.encode() + b"\0" + jpeg(picture, _QUALITY))
                time.sleep(_PERIOD_S)
        except ConnectionClosed:
            return


def _always(data: bytes) -> bytes:
    """What of a watcher's message counts: a press that stops the arm."""
    try:
        pressed = [name for name in json.loads(data)["pressed"] if name in ALWAYS]
    except (ValueError, TypeError, KeyError):
        return b""
    return json.dumps({"held": False, "pressed": pressed}).encode() if pressed else b""
