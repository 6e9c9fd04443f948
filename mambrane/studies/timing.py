"""About how long the runs of a study take, from a few micro-batches of each arm that are measured now."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from mambrane.continual.stream import build_stream
from mambrane.core.device import resolve_device
from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domains import load_domains
from mambrane.run.kernels import compile_kernels_of
from mambrane.settings.config import RunConfig
from mambrane.settings.initial import initial_tokenizer
from mambrane.studies.study import Cell
from mambrane.training.timing import expected_time_now

START_S = 5.0
"""Of each run, beside its training: to start its process, read the text and save; measured on a free core."""


def expected_seconds(cells: Sequence[Cell], *, jobs: int, threads: int, events: EventLog) -> float:
    """Return how long these runs take side by side; what is saved of a run that was stopped is not counted.

    Text, and kernels that are compiled on the way, are then there for all runs.

    Raises:
        UserError: a text, or weights to start from, that a run would be refused for.
    """
    by_arm: dict[str, float] = {}
    with _threads(threads):
        for cell in cells:
            if cell.arm not in by_arm:
                by_arm[cell.arm] = _seconds_of(cell.config, events)
    each = [START_S + by_arm[cell.arm] for cell in cells]
    return max(max(each), sum(each) / jobs)


def _seconds_of(config: RunConfig, events: EventLog) -> float:
    device = resolve_device(config.run.device)
    tokenizer, domains = load_domains(
        config.data, cache_folder(), EventLog(), config.num_domains, tokenizer=initial_tokenizer(config)
    )
    compile_kernels_of(config, device, events)
    stream = build_stream(domains, config.continual, config.run.epochs)
    return expected_time_now(config, stream, tokenizer.vocab_size, device).seconds


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
