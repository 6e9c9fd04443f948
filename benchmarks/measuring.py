"""How the benchmarks take time and memory, and what the machine itself can do."""

import datetime
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mambrane.core.device import describe_environment

MIB = 2**20
_COPY_FLOATS, _PRODUCT_SIZE = 2**25, 2048


def interleaved_ms(
    runs: Mapping[str, Callable[[], object]], *, rounds: int, calls: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """Return the durations of every run in milliseconds.

    The runs take turns, so that whatever else the machine does meets all of them.

    Args:
        runs: what is timed, by name.
        rounds: turns of each.
        calls: how often a run is called, and timed, in each of its turns; once where not given.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            for _ in range((calls or {}).get(name, 1)):
                start = time.perf_counter()
                run()
                found[name].append(1e3 * (time.perf_counter() - start))
    return found


def medians(durations: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each list."""
    return {name: statistics.median(values) for name, values in durations.items()}


def peak_memory_bytes(run: Callable[[], object]) -> int:
    """Return by how much the memory of this process rises, at the most, while `run` works (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def machine_rates() -> dict[str, float]:
    """Return the measured limits of this machine: copying float32 memory (read and written), and its products."""
    source = torch.ones(_COPY_FLOATS)
    target = torch.empty_like(source)
    left = torch.ones(_PRODUCT_SIZE, _PRODUCT_SIZE)
    runs = {"copy": lambda: target.copy_(source), "product": lambda: left @ left}
    interleaved_ms(runs, rounds=1)
    best_s = {name: min(values) / 1e3 for name, values in interleaved_ms(runs, rounds=7).items()}
    return {
        "copied_gigabytes_per_s": 2 * 4 * _COPY_FLOATS / best_s["copy"] / 1e9,
        "float32_gigaflops": 2 * _PRODUCT_SIZE**3 / best_s["product"] / 1e9,
    }


def describe_machine() -> dict[str, Any]:
    """Return date, processor, versions and threads."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": names[0] if names else platform.processor(),
        **describe_environment(torch.device("cpu")),
    }
