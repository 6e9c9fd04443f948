"""`mambrane serve RUN`: an OpenAI-compatible server of a run's model."""

import ipaddress
import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from mambrane.app.notices import announced_events
from mambrane.app.openai_api import LOOPBACK, build_app
from mambrane.app.openai_requests import Limits
from mambrane.core.device import resolve_device
from mambrane.core.errors import UserError
from mambrane.run.run import Run
from mambrane.settings.config import Weights

TOKEN_VARIABLE = "MAMBRANE_TOKEN"
SHORTEST_TOKEN = 16


def serve(run: Path, *, host: str, port: int, weights: Weights, device: str, **limits_by_name: Any) -> int:  # noqa: ANN401
    """Serve until Ctrl-C, and say where; the rest are the fields of `Limits`."""
    limits = Limits(**limits_by_name)
    token = os.environ.get(TOKEN_VARIABLE, "")
    check_token(token, host)
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    app = build_app(opened, limits=limits, token=token, hosts=admitted_names(host))
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        limit_concurrency=4 * (limits.max_parallel + limits.max_waiting) + 16,
        timeout_keep_alive=5,
        server_header=False,
    )
    with bound_socket(host, port) as listening:
        key = f"API key: ${TOKEN_VARIABLE}" if token else "no API key"
        address = f"http://{_in_address(host)}:{listening.getsockname()[1]}/v1"
        sys.stdout.write(f"{address} serves {run} ({key}); Ctrl-C ends it\n")
        sys.stdout.flush()
        # A client that hangs up is no news.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def admitted_names(host: str) -> tuple[str, ...]:
    """Return the names by which clients may call a server that listens there; none where any will do.

    A server for this machine alone answers to the usual names of it and to the one that was asked for.
    """
    return tuple(dict.fromkeys((*LOOPBACK, _in_address(host).lower()))) if is_loopback(host) else ()


def check_token(token: str, host: str) -> None:
    """Refuse a server for other machines without a token, and a token that could be guessed.

    Raises:
        UserError: there is none, or it is too short.
    """
    make_one = f'export {TOKEN_VARIABLE}=$(python3 -c "import secrets; print(secrets.token_urlsafe())")'
    if not token and not is_loopback(host):
        raise UserError(
            f"--host {host} without a token: anybody who reaches this machine could use the model",
            wanted=f"a token in the variable {TOKEN_VARIABLE}, which clients give as their API key",
            way_out=f"{make_one}, or --host 127.0.0.1",
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii()):
        raise UserError(
            f"{TOKEN_VARIABLE} has {len(token)} characters",
            wanted=f"at least {SHORTEST_TOKEN} of ASCII",
            way_out=make_one,
        )


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound; raises UserError where it cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # So that a server can be started again at once; on Windows it would let a second one take the same port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise UserError(
            f"--host {host} --port {port}: {error.strerror or error}",
            wanted="an address of this machine, and a port that no other program uses",
            way_out="--port 0 takes any that is free",
        ) from error
    return bound


def _in_address(host: str) -> str:
    """Return a host as it stands in an address, and so in the header that a client sends."""
    return f"[{host}]" if ":" in host else host
