"""Standard streams as they may be: closed from the start, full, or left by their reader.

The streams are not the work: a command whose answer nobody can receive says so once and ends in order.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Literal

from rich.text import Text

from mambrane.watch.plain_console import plain_console

StreamName = Literal["stdout", "stderr"]


def open_closed_streams() -> None:
    """Open what was closed, and let no character fail that the terminal cannot show.

    A file that is opened later would else get the number of a closed stream, and what C libraries print would land in
    that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system hands out the lowest free number, and those below this one are taken.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 -- held until the program ends
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 -- held until the program ends
        elif isinstance(stream, io.TextIOWrapper):
            # File names need not be text: surrogates in them cannot be encoded.
            stream.reconfigure(errors="backslashreplace")


def flush_or_give_up(name: StreamName) -> OSError | None:
    """Write out what a stream still holds; where that fails, drop it and all that follows, and return the error."""
    try:
        getattr(sys, name).flush()
    except OSError as error:
        give_up(name)
        return error
    return None


def give_up(name: StreamName) -> None:
    """Let all that is written to a stream vanish, so that the interpreter does not fail on it at its end."""
    stream = getattr(sys, name)
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


def tell(*parts: str | tuple[str, str]) -> None:
    """Write a line to standard error; where that is closed or full, nobody can be told."""
    with suppress(OSError, SystemExit):
        plain_console(stderr=True).print(Text.assemble(*parts), soft_wrap=True)
