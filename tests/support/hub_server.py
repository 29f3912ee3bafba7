"""A hub of its own on this machine: enough of the Hugging Face hub's HTTP interface to fetch one model."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_with(name: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve one model and yield the address. Anything else is not found, as the hub says it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{name}/tree/"):
                entries = [
                    {"type": "file", "path": path, "size": len(content), "oid": etag(content)}
                    for path, content in files.items()
                ]
                self.answer(json.dumps(entries).encode(), body=body)
            elif path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/revision/"):
                siblings = [{"rfilename": file} for file in files]
                info = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
                self.answer(json.dumps(info).encode(), body=body)
            elif path.startswith(f"/{name}/resolve/") and path.rpartition("/")[2] in files:
                content = files[path.rpartition("/")[2]]
                self.answer(content, body=body, kind="application/octet-stream")
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def answer(self, content: bytes, *, body: bool, kind: str = "application/json") -> None:
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
