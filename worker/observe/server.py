"""One small HTTP server for `/metrics`, `/healthz` and `/readyz`."""

import socket
import socketserver
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from worker.errors import PortInUse
from worker.observe.health import Health

_log = structlog.get_logger(__name__)
_JSON = "application/json; charset=utf-8"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    registry: CollectorRegistry
    health: Health

    def server_bind(self) -> None:
        # HTTPServer would look up the host's full name here, which can hang for seconds without a DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        # A client that went away is its own affair; anything else must not print a traceback on stderr.
        _log.debug("observe_request_failed", client=str(client_address), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = 10
    server_version = "moodstream"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, kind, encode(self.server.registry))
        elif path == "/healthz":
            self._verdict(*self.server.health.healthy())
        elif path == "/readyz":
            self._verdict(*self.server.health.ready())
        else:
            body = {"status": "not found", "paths": ["/metrics", "/healthz", "/readyz"]}
            self._answer(HTTPStatus.NOT_FOUND, _JSON, _pretty(body))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _verdict(self, fine: bool, body: dict[str, Any]) -> None:
        self._answer(HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE, _JSON, _pretty(body))

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        _log.debug("observe_request", line=format % args)


def _pretty(body: dict[str, Any]) -> bytes:
    """People read these with curl."""
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class ObserveServer:
    """Serves metrics and health from daemon threads, so that it never keeps a process alive.

    `port` 0 takes a free one; after `start` the attribute says which.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        self.host = host
        self.port = port
        self._registry = registry
        self._health = health
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and answer.

        Raises:
            PortInUse: the address is taken, not ours, or not to be resolved.
        """
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            kind = type("_Listener", (_Listener,), {"address_family": family})
            listener: _Listener = kind((self.host, self.port), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PortInUse(
                f"cannot serve metrics on {self.host}:{self.port}: {reason} "
                "(settings observe.host and observe.port; port 0 takes a free one)"
            ) from None
        listener.registry, listener.health = self._registry, self._health
        self.port = listener.server_port
        self._listener = listener
        self._thread = threading.Thread(
            target=listener.serve_forever, args=(0.1,), name="observe", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Twice, or before a start, does nothing."""
        if self._listener is None or self._thread is None:
            return
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join(timeout=5)
        self._listener = self._thread = None
