"""`mambrane score RUN FILE`: how surprising each line is, as it comes."""

import json as json_library
import sys
from collections.abc import Iterator
from contextlib import closing
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.core.errors import UserError
from mambrane.measure.scoring import PIECE_BYTES, LineScore
from mambrane.run.run import Run
from mambrane.settings.config import Weights
from mambrane.watch.formatting import visible


def score(run: Path, *, file: str, json: bool, weights: Weights, device: str) -> int:
    """Print bits per byte and the text of each line, as soon as the line has ended."""
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    with closing(_opened(file)) as stream:
        for line in opened.score(_pieces(stream)):
            sys.stdout.write(_as_json(line) if json else f"{line.bits_per_byte:8.3f}  {visible(line.text)}\n")
            sys.stdout.flush()
    return 0


def _opened(file: str) -> BufferedIOBase:
    if file == "-":
        return cast(BufferedIOBase, sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise UserError(
            f"{file}: {error.strerror or error}", wanted="a file of text, or - for standard input", way_out="check it"
        ) from error


def _pieces(stream: BufferedIOBase) -> Iterator[bytes]:
    """Yield each line as soon as it is there, long ones in pieces."""
    while piece := stream.readline(PIECE_BYTES):
        yield piece


def _as_json(line: LineScore) -> str:
    numbers = {"line": line.line, "bits_per_byte": line.bits_per_byte, "bits": line.bits, "bytes": line.num_bytes}
    return json_library.dumps({**numbers, "text": line.text}) + "\n"
