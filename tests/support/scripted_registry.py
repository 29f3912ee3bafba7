"""A schema registry on 127.0.0.1 that answers as a test says: Confluent's API, from a dictionary."""

import base64
import json
import ssl
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class ScriptedRegistry:
    """A registry in a `with` block. `schemas` maps ids to the answers of `/schemas/ids/{id}`, `guids` GUIDs.

    `versions` maps paths such as `/subjects/a/versions/1` to answers. `down` makes every answer a 503.
    What is registered gets an id and a GUID, and can be asked for by both.

    Args:
        schemas: what it holds from the start.
        login: the user and password that it wants, with a colon in between.
        token: the bearer token that it wants.
        tls: makes it an https server.
        port: where it listens; any free one if 0.
    """

    def __init__(
        self,
        schemas: dict[int, dict[str, Any]] | None = None,
        login: str | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.schemas = schemas or {}
        self.guids: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.registered: list[tuple[str, dict[str, Any]]] = []
        self.down = False
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self._login = None if login is None else "Basic " + base64.b64encode(login.encode()).decode()
        if token is not None:
            self._login = f"Bearer {token}"
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(("127.0.0.1", port), self._handler())
        if tls is not None:
            # The handshake waits for the connection's own thread.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, authorization: str | None, body: bytes | None) -> tuple[int, Any]:
        """The status and the JSON for a request."""
        self.asked.append(path)
        if self.down:
            return 503, {"error_code": 50302, "message": "no leader"}
        if self._login is not None and authorization != self._login:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        if self.refusal is not None:
            return self.refusal
        if body is not None:
            schema = json.loads(body)
            self.registered.append((path, schema))
            number = len(self.registered)
            guid = str(uuid.UUID(int=2**127 + number))
            self.schemas[number] = self.guids[guid] = schema
            return 200, {"id": number, "guid": guid}
        if path == "/subjects":
            return 200, []
        found = self.versions.get(path)
        kind, _, name = path.removeprefix("/schemas/").partition("/")
        if kind == "ids":
            found = self.schemas.get(int(name))
        elif kind == "guids":
            found = self.guids.get(name)
        return (404, {"error_code": 40403, "message": "Schema not found"}) if found is None else (200, found)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                self._reply(self.rfile.read(int(self.headers["content-length"])))

            def _reply(self, body: bytes | None) -> None:
                status, said = registry.answer(self.path, self.headers.get("authorization"), body)
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a handshake that fails."""
