"""A server of a few lines: GET /?prompt=... writes text as it comes. `server.py RUN`; this machine only."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import mambrane


def make_server(run: mambrane.Run, port: int = 8001, max_tokens: int = 200) -> HTTPServer:
    """Return a server of a run's text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Write what follows the prompt."""
            prompt = parse_qs(urlsplit(self.path).query).get("prompt", [""])[0]
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            for piece in run.stream(prompt[:4000], max_tokens=max_tokens):
                self.wfile.write(piece.encode())

        def log_message(self, *words: object) -> None:
            """Keep quiet."""

    return HTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    with make_server(mambrane.Run.open(sys.argv[1])) as server:
        server.serve_forever()
