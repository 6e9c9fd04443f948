"""`mambrane watch RUN`: the report page in a browser of this machine, following the run."""

import sys
from contextlib import suppress
from pathlib import Path

from mambrane.report.live import LiveServer


def watch(run: Path, port: int) -> int:
    """Serve the page until Ctrl-C, and say where."""
    with LiveServer(run, port) as server:
        sys.stdout.write(f"{server.url} follows {run}; Ctrl-C ends it\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
