"""The page's server: one page, its files, its numbers as JSON, and a stream that says when to ask again."""

import asyncio
import importlib.resources
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from worker.dashboard.reader import State, TopicReader
from worker.dashboard.report import Reporter
from worker.dashboard.store import Store
from worker.dashboard.view import FIELD, OWN_FIELDS, View
from worker.errors import DashboardError, PortInUse
from worker.settings.groups import Settings

SPANS_S = {"5m": 300, "30m": 1_800, "2h": 7_200, "6h": 21_600, "24h": 86_400, "7d": 604_800}
"""The stretches of time that the page offers, by the name that a link carries."""

STREAMS = 64
"""Browsers that may listen at the same time."""

CONNECTIONS = 4 * STREAMS
"""Connections that may be open at the same time; the next one gets a 503."""

_TELL_EVERY_S = 1.0
_STALLED_S = 10.0
_HEADERS = {
    # Nothing from elsewhere, and no script but our own: a post is never read as HTML, even if a fault let it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TIME = r"[0-9]{1,15}"


def read_view(query: Mapping[str, str]) -> View:
    """The view that a link asks for.

    Raises:
        ValueError: with one line for the reader.
    """
    span = query.get("span", "30m")
    if span not in SPANS_S:
        raise ValueError(f"span is one of {', '.join(SPANS_S)}")
    to = query.get("to")
    if to is not None and not re.fullmatch(_TIME, to):
        raise ValueError("to is a Unix time in milliseconds")
    pick = query.get("pick")
    if pick is not None and not re.fullmatch(f"{_TIME}-{_TIME}", pick):
        raise ValueError("pick is two Unix times in milliseconds, as in 1700000000000-1700000060000")
    first, _, last = (pick or "").partition("-")
    return View(
        SPANS_S[span],
        None if to is None else int(to),
        {name: value for name, value in query.items() if name in OWN_FIELDS or name.startswith(FIELD)},
        None if pick is None else (int(first), int(last)),
    )


class Page:
    """The application around one store and one reader's state."""

    def __init__(self, store: Store, state: State, topic: str) -> None:
        self._store, self._state, self._topic = store, state, topic
        self.ending = False
        """Set when the server ends, so that no stream keeps it waiting."""
        self._reporter = Reporter(store)
        self._listeners = 0
        folder = importlib.resources.files("worker.dashboard") / "static"
        self._index = (folder / "index.html").read_text(encoding="utf-8")
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/api/view", self._view),
                Route("/events", self._events),
                Route("/charts.js", self._charts),
                Mount("/static", StaticFiles(directory=str(folder))),
            ]
        )

    async def _page(self, _: Request) -> Response:
        return HTMLResponse(self._index, headers=_HEADERS)

    async def _charts(self, _: Request) -> Response:
        # As a file it goes out in pieces: a browser that does not read holds a piece, not all 5 MB.
        headers = {**_HEADERS, "Cache-Control": "public, max-age=86400"}
        return FileResponse(charts_script(), media_type="text/javascript", headers=headers)

    async def _view(self, request: Request) -> Response:
        try:
            view = read_view(request.query_params)
        except ValueError as error:
            return PlainTextResponse(str(error), 400, headers=_HEADERS)
        report = await run_in_threadpool(self._reporter.report, view)
        report["status"] = self.status()
        body = orjson.dumps(report)
        return Response(body, media_type="application/json", headers=_HEADERS)

    def status(self) -> dict[str, Any]:
        """What the page says about itself, ready for JSON."""
        state = self._state
        return {
            "topic": self._topic,
            "problem": state.problem,
            "away": state.away,
            "too_old": state.too_old,
            "lag": state.lag,
            "caught_up": state.caught_up,
            "unreadable": dict(state.unreadable),
            "rate": round(self._store.rate(), 1),
            "keep_s": self._store.keep_s,
        }

    async def _events(self, request: Request) -> Response:
        if self._listeners >= STREAMS:
            return PlainTextResponse("too many browsers are listening", 503, headers=_HEADERS)
        # A browser that does not read is given up: what it missed it would ask for anyway.
        return EventSourceResponse(self._changes(request), ping=15, send_timeout=_STALLED_S, headers=_HEADERS)

    async def _changes(self, request: Request) -> AsyncIterator[dict[str, str]]:
        """Say that there is something new, at most once a second."""
        self._listeners += 1
        seen, told = -1, 0.0
        try:
            while not self.ending and not await request.is_disconnected():
                now = time.monotonic()
                # Also without news now and then: a live view moves on.
                if self._store.version != seen or now - told >= 10 * _TELL_EVERY_S:
                    seen, told = self._store.version, now
                    yield {"event": "changed", "data": str(seen)}
                await asyncio.sleep(_TELL_EVERY_S)
        finally:
            self._listeners -= 1


def charts_script() -> Path:
    """The chart library: Plotly.js (MIT licence), as the plotly package ships it."""
    return Path(str(importlib.resources.files("plotly") / "package_data" / "plotly.min.js"))


def listen(host: str, port: int) -> socket.socket:
    """A socket for the page; port 0 takes a free one. A browser that comes before the server waits for it.

    Raises:
        PortInUse: the address is taken, or does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PortInUse(
            f"cannot serve the page on {host}:{port}: {reason} (--host and --port; port 0 takes a free one)"
        ) from None
    return listener


class _Server(uvicorn.Server):
    """A server that ends the streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, page: Page) -> None:
        super().__init__(config)
        self._page = page

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first ends the server, a second Ctrl-C does not wait for anybody.

        Unlike uvicorn's own, it does not raise the signal again at the end: exit code 0, as with `run`.
        """
        del frame
        self._page.ending = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class Dashboard:
    """Store, reader and server together.

    Args:
        settings: how to reach Kafka, and the topics.
        store: a file that outlives the process, or None.
        keep_s: how long posts are kept. Seconds.
        host, port: where to serve; see `listen`.

    Raises:
        DashboardError: the store cannot be opened.
        PortInUse: see `listen`.
    """

    def __init__(
        self, settings: Settings, *, store: Path | None, keep_s: float, host: str, port: int
    ) -> None:
        self._listener = listen(host, port)
        try:
            self._store = Store(store, keep_s)
        except DashboardError:
            self._listener.close()
            raise
        self._reader = TopicReader(settings, self._store)
        self._page = Page(self._store, self._reader.state, settings.sink.topic)
        config = uvicorn.Config(
            self._page.app,
            log_config=None,
            log_level="warning",
            access_log=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=3,
        )
        self._server = _Server(config, self._page)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, or until `stop`."""
        self._reader.start()
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._reader.stop()
            self._store.close()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._page.ending = True
        self._server.should_exit = True
