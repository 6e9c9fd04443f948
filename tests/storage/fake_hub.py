"""A hub on this machine with some repositories: what huggingface_hub asks of the real one, answered over HTTP."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    """Answers for each repository at the revisions main and v2."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, dict[str, bytes]] = {}
    requests: list[tuple[str, str | None]] = []
    """Path and Authorization of each request."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.requests.append((path, self.headers.get("Authorization")))
        owner, _, rest = path.removeprefix("/api/models").removeprefix("/").partition("/")
        model, _, rest = rest.partition("/")
        place, _, rest = rest.partition("/")
        name = f"{owner}/{model}"
        files = self.repositories.get(name, {})
        content: bytes | None = None
        if files and place == "revision" and rest in ("main", "v2"):
            siblings = [{"rfilename": file} for file in files]
            content = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
        elif files and place == "tree" and rest in ("main", "v2", COMMIT):
            content = json.dumps(
                [
                    {"type": "file", "path": file, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                    for file, body in files.items()
                ]
            ).encode()
        elif place == "resolve":
            content = files.get(rest.removeprefix(f"{COMMIT}/"))
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
def fake_hub(
    repositories: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> Iterator[list[tuple[str, str | None]]]:
    """Let huggingface_hub find a hub with these files, by repository; yields the requests that it was sent."""
    constants = pytest.importorskip("huggingface_hub.constants")
    requests: list[tuple[str, str | None]] = []
    handler = type("HandlerOfFiles", (Handler,), {"repositories": repositories, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    try:
        yield requests
    finally:
        server.shutdown()
        server.server_close()
