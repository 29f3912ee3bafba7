"""A hub of its own on this machine: enough of the Hugging Face hub's HTTP interface to fetch one model."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_with(
    name: str, files: Mapping[str, bytes], others: Mapping[str, Mapping[str, bytes]] | None = None
) -> Iterator[str]:
    """Serve a model, and others, and yield the address. Anything else is not found, as the hub says it."""
    models = {**(others or {}), name: files}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            found = _found(models, self.path.partition("?")[0])
            if found is not None:
                self.answer(*found, body=body)
                return
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, content: bytes, kind: str, *, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{etag(content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _found(models: Mapping[str, Mapping[str, bytes]], path: str) -> tuple[bytes, str] | None:
    """Return what lies at a path of the hub, and its type."""
    name = next((name for name in models if f"/{name}/" in f"{path}/"), None)
    if name is None:
        return None
    files = models[name]
    if path.startswith(f"/{name}/resolve/"):
        content = files.get(path.rpartition("/")[2])
        return None if content is None else (content, "application/octet-stream")
    if path.startswith(f"/api/models/{name}/tree/"):
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": etag(content)}
            for path, content in files.items()
        ]
        return json.dumps(entries).encode(), "application/json"
    siblings = [{"rfilename": file} for file in files]
    info = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
    return json.dumps(info).encode(), "application/json"
