"""A hub on this machine with one repository: what huggingface_hub asks of the real one, answered over HTTP."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Answers for OWNER/MODEL at the revisions main and v2."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes] = {}
    requests: list[tuple[str, str | None]] = []
    """Path and Authorization of each request."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.requests.append((path, self.headers.get("Authorization")))
        place, _, rest = path.removeprefix("/api/models/owner/model/").partition("/")
        if place == "revision" and rest in ("main", "v2"):
            siblings = [{"rfilename": name} for name in self.files]
            content: bytes | None = json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": siblings}).encode()
        elif place == "tree" and rest in ("main", "v2", COMMIT):
            content = json.dumps(
                [
                    {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                    for name, body in self.files.items()
                ]
            ).encode()
        else:
            content = self.files.get(path.removeprefix(f"/owner/model/resolve/{COMMIT}/"))
        self.send_response(404 if content is None else 200)
        body = b"" if content is None else content
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def fake_hub(files: dict[str, bytes]) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Yield the address of a hub with these files, and the requests that it was sent."""
    requests: list[tuple[str, str | None]] = []
    handler = type("HandlerOfFiles", (Handler,), {"files": files, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
