"""The report page of a run, made anew while the run trains, for the browsers of this machine and for nobody else.

The server answers two addresses, reads the run and writes nothing: `/` is the page, `/version` text that changes
when the run does. It is bound to 127.0.0.1. A request under another host name, as of a site that rebinds its own to it,
is refused, and the page may be neither framed nor read by other sites.
"""

import base64
import hashlib
import os
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mambrane.core.errors import UserError
from mambrane.report.data import read_report_data
from mambrane.report.report import report_page
from mambrane.storage.run_folder import RunFolder

ADDRESS = "127.0.0.1"
PAUSE_OVER_DRAWING = 9.0
"""Drawing takes at most a tenth of the time, so that training keeps its processor."""
REQUEST_TIMEOUT_S = 10.0
BAR = """\
<div id="live" role="status">Live: this page follows the run.
<button type="button" id="pause" aria-pressed="false">Pause</button></div>
"""
SCRIPT = """\
"use strict";
const pause = document.getElementById("pause");
let version = document.documentElement.dataset.version, asked = false;
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") === "true";
  pause.setAttribute("aria-pressed", String(!paused));
  pause.textContent = paused ? "Pause" : "Go on";
});
async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.text();
}
async function update() {
  if (asked || document.hidden || pause.getAttribute("aria-pressed") === "true") return;
  asked = true;
  try {
    const now = await ask("/version");
    if (now !== version) {
      const page = new DOMParser().parseFromString(await ask("/"), "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      version = page.documentElement.dataset.version;
    }
  } catch { /* the server has ended, or has no page of the run now; this one stays as it was */ }
  asked = false;
}
setInterval(update, 2000);
"""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; script-src 'sha256-"
        f"{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LivePage:
    """The page about a run as it stands; drawn again when the run has changed and the last drawing is long ago."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of a run; raises UserError where it is none."""
        self._files = RunFolder(folder)
        self._files.require_run()
        self._lock = threading.Lock()
        self._html, self._version = "", ""
        self._next_drawing_s = 0.0

    def version(self) -> str:
        """Return the version of the page that `html` would return now."""
        with self._lock:
            return self._version_now() if self._may_draw() else self._version

    def html(self) -> str:
        """Return the page; raises UserError where the run's configuration cannot be read."""
        with self._lock:
            version = self._version_now()
            if not self._html or (version != self._version and self._may_draw()):
                started_s = time.monotonic()
                self._html = _made_live(report_page(read_report_data(self._files.path)), version)
                self._version = version
                took_s = time.monotonic() - started_s
                self._next_drawing_s = time.monotonic() + PAUSE_OVER_DRAWING * took_s
            return self._html

    def _may_draw(self) -> bool:
        return time.monotonic() >= self._next_drawing_s

    def _version_now(self) -> str:
        """Return a short text that differs when a file of the run does."""
        stamps = []
        for file in (self._files.events_file, self._files.matrix_file, self._files.tasks_file):
            try:
                seen = file.stat()
                stamps.append(f"{seen.st_size}.{seen.st_mtime_ns}")
            except OSError:
                stamps.append("-")
        return hashlib.sha256(" ".join(stamps).encode()).hexdigest()[:16]


class LiveServer(ThreadingHTTPServer):
    """Serves the page of a run on 127.0.0.1 until `shutdown`."""

    daemon_threads = True
    # On Windows it would let a second server take the same port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, folder: Path, port: int) -> None:
        """Bind the port; 0 takes any that is free.

        Raises:
            UserError: there is no run, or the port cannot be had.
        """
        self.page = LivePage(folder)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror or error}",
                wanted="a port that no other program uses",
                way_out="--port 0 takes any that is free",
            ) from error

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def knows(self, host: str) -> bool:
        """Return whether a request's Host header names this server."""
        names = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        return host.lower() in names | ({ADDRESS, "localhost"} if self.server_port == 80 else set())

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    server_version, sys_version = "mambrane", ""
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        """Answer with the page or its version."""
        if not self.server.knows(self.headers.get("Host", "")):
            return self._answer(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to 127.0.0.1 alone\n")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return self._answer(HTTPStatus.FORBIDDEN, "another site asked\n")
        if self.path == "/version":
            return self._answer(HTTPStatus.OK, self.server.page.version())
        if self.path != "/":
            return self._answer(HTTPStatus.NOT_FOUND, "only / is here\n")
        try:
            return self._answer(HTTPStatus.OK, self.server.page.html(), kind="text/html")
        except UserError as error:
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n")

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, text: str, *, kind: str = "text/plain") -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the terminal belongs to whoever started the server."""


def _made_live(html: str, version: str) -> str:
    """Return a report page that follows the run."""
    html = html.replace("<html ", f'<html data-version="{version}" ', 1)
    return html.replace("<main", f"{BAR}<main", 1).replace("</body>", f"<script>{SCRIPT}</script>\n</body>", 1)
