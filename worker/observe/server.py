"""One small HTTP server for `/metrics`, `/healthz` and `/readyz`.

It runs on one thread for all clients: one that sends slowly, or nothing, costs a descriptor for a few seconds
and never a thread. Connections, their headers and their lifetime are bounded.
"""

import asyncio
import contextlib
import re
import socket
import threading
import time
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from worker.errors import PortInUse
from worker.observe.health import Health

CONNECTIONS = 64
"""Maximum number open at the same time. A new one above that closes the oldest."""

HEADER_BYTES = 16 * 1024
"""Maximum size of the request line and all headers."""

LIFETIME_S = 10.0
"""Maximum time from the first byte until the answer is sent."""

PACE_S = 0.005
"""Minimum time between two answers, so that a client that asks constantly does not slow the worker down."""

_log = structlog.get_logger(__name__)
_JSON = "application/json; charset=utf-8"
_REQUEST = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]")
_BACKLOG = 256
"""Connections that may wait to be accepted. Any above that have to try again a second later."""

_STOP_S = 1.0
_QUIET_S = 60.0
"""Minimum time between two log lines about problems of the server itself."""


class _Refused(Exception):
    """A request that is answered only with a status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class ObserveServer:
    """Serves metrics and health from a daemon thread, so that it never keeps a process alive.

    `port` 0 takes a free one; after `start` the attribute holds its number.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        self.host = host
        self.port = port
        self._registry = registry
        self._health = health
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._quiet_until = self._turn_at = 0.0
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def start(self) -> None:
        """Start listening.

        Raises:
            PortInUse: the address is taken, does not belong to this machine, or cannot be resolved.
        """
        try:
            listener = _listen(self.host, self.port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PortInUse(
                f"cannot serve metrics on {self.host}:{self.port}: {reason} "
                "(settings observe.host and observe.port; port 0 takes a free one)"
            ) from None
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started)), name="observe", daemon=True
        )
        self._thread.start()
        started.wait()

    def stop(self) -> None:
        """Stop listening. Does nothing the second time, or before `start`."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=5)
        self._thread = self._loop = self._stop = None

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # If descriptors run out, asyncio stops accepting for a second, and reports it here each time.
        self._loop.set_exception_handler(self._report)
        try:
            server = await asyncio.start_server(
                self._connection, sock=listener, limit=HEADER_BYTES, backlog=_BACKLOG
            )
        finally:
            started.set()
        await self._stop.wait()
        # A connection that is accepted but not set up yet would be left open by a server that is closed.
        self._loop.remove_reader(listener)
        deadline = time.monotonic() + _STOP_S
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < deadline:
            for writer in self._open.values():
                writer.transport.abort()
            await asyncio.sleep(0)
        server.close()

    def _report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _QUIET_S
            error = context.get("exception")
            _log.warning("observe_server", reason=context.get("message"), error=str(error) if error else None)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this as a task
        if len(self._open) >= CONNECTIONS:
            self._open.pop(next(iter(self._open))).transport.abort()
        self._open[task] = writer
        try:
            async with asyncio.timeout(LIFETIME_S):
                await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            # A client that went away, or never finished its request, is not our problem.
            _log.debug("observe_request_failed", reason=type(error).__name__)
        finally:
            self._open.pop(task, None)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # a client that does not read would keep it open
            else:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it; then the connection ends."""
        try:
            method, path, headers = await _read_request(reader)
            await self._wait_for_turn()
            status, kind, body = self._page(path, headers)
        except _Refused as refused:
            method, status, kind = "GET", refused.status, _JSON
            body = _pretty({"status": refused.status.phrase.lower()})
        _log.debug("observe_request", status=status.value)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Server: moodstream",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
            "\r\n",
        )
        writer.write("\r\n".join(head).encode() + (b"" if method == "HEAD" else body))
        await writer.drain()
        writer.write_eof()
        # Data that is not read turns the close into a reset, which may overtake the answer.
        with contextlib.suppress(ConnectionError):
            while await reader.read(HEADER_BYTES):
                pass

    async def _wait_for_turn(self) -> None:
        now = time.monotonic()
        self._turn_at = max(now, self._turn_at + PACE_S)
        await asyncio.sleep(self._turn_at - now)

    def _page(self, path: str, headers: dict[str, str]) -> tuple[HTTPStatus, str, bytes]:
        path = path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(headers.get("accept", ""))
            return HTTPStatus.OK, kind, encode(self._registry)
        if path in {"/healthz", "/readyz"}:
            fine, verdict = self._health.healthy() if path == "/healthz" else self._health.ready()
            return HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE, _JSON, _pretty(verdict)
        body = {"status": "not found", "paths": ["/metrics", "/healthz", "/readyz"]}
        return HTTPStatus.NOT_FOUND, _JSON, _pretty(body)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers, their names in lower case."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    first, *lines = head.split("\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None:
        raise _Refused(HTTPStatus.BAD_REQUEST)
    if request[1] not in {"GET", "HEAD"}:
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED)
    parts = (line.partition(":") for line in lines)
    return request[1], request[2], {name.strip().lower(): value.strip() for name, _, value in parts}


def _pretty(body: dict[str, Any]) -> bytes:
    """People read these with curl."""
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
