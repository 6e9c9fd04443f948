"""`mambrane generate RUN`: text from a trained model, written as it comes."""

import json as json_library
import sys
from pathlib import Path
from typing import Any

from mambrane.app.notices import announced_events
from mambrane.core.device import resolve_device
from mambrane.core.errors import UserError
from mambrane.run.run import Run
from mambrane.run.text import as_bytes, check_samples
from mambrane.settings.config import Weights


def generate(
    run: Path,
    *,
    prompt: str,
    prompt_file: str,
    num_samples: int,
    state: Path | None,
    json: bool,
    weights: Weights,
    device: str,
    **options: Any,  # noqa: ANN401 -- those of Run.stream
) -> int:
    """Write the prompt and what follows it to standard output; several samples one after the other."""
    check_samples(num_samples, state)
    if prompt and prompt_file:
        raise UserError("--prompt and --prompt-file", wanted="one prompt", way_out="leave one of the two out")
    text = _read(prompt_file) if prompt_file else as_bytes(prompt)
    opened = Run.open(run, weights=weights, device=resolve_device(device), events=announced_events())
    shown = text.decode("utf-8", "replace")
    if json:
        return _print_json(opened, text, num_samples, state, options)
    if num_samples > 1:
        for number, written in enumerate(opened.write(text, num_samples, **options), start=1):
            sys.stdout.write(f"--- {number} of {num_samples}\n{shown}{written.text}\n")
            sys.stdout.flush()
        return 0
    pieces = opened.stream(text, state=state, **options)
    first = next(pieces, "")
    sys.stdout.write(shown + first)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def _print_json(opened: Run, text: bytes, num_samples: int, state: Path | None, options: dict[str, Any]) -> int:
    """Print one JSON object: the prompt, and the text of each sample, why it ended and how many tokens it has."""
    samples = [written._asdict() for written in opened.write(text, num_samples, state=state, **options)]
    answer = {"prompt": text.decode("utf-8", "replace"), "samples": samples}
    sys.stdout.write(json_library.dumps(answer) + "\n")
    return 0


def _read(file: str) -> bytes:
    """Return the content of a file, or of standard input for -."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UserError(
            f"--prompt-file {file}: {error.strerror or error}",
            wanted="a file of text, or - for standard input",
            way_out="check the name",
        ) from error
