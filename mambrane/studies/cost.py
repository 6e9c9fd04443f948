"""What a run cost: the time of its sessions, from its events, and the most memory that its process took."""

import json
from pathlib import Path

from mambrane.core.events import read_events
from mambrane.storage.run_folder import RunFolder

PEAK_MEMORY_FILE = "peak_memory.json"
_STATUS = Path("/proc/self/status")


def seconds_of(folder: Path) -> float | None:
    """Return how long the run was at work, from its start to its last event in each session; None without a log."""
    path = RunFolder(folder).events_file
    if not path.exists():
        return None
    total, start, last = 0.0, None, None
    for event in read_events(path):
        time_s = event.get("time_s")
        if not isinstance(time_s, int | float):
            continue
        if event["event"] == "run_started":
            total += 0.0 if start is None or last is None else max(0.0, last - start)
            start = time_s
        last = time_s
    return None if start is None or last is None else total + max(0.0, last - start)


def peak_memory_bytes() -> int | None:
    """Return the most memory that this process has taken so far; None where the system does not say."""
    try:
        # The system's own count of a process begins with its parent's where one is started by fork; this one does not.
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        import resource
        import sys
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def saved_peak_memory(folder: Path) -> int | None:
    """Return the peak that a run in this folder has noted; None where it has noted none that can be read."""
    try:
        peak = json.loads((folder / PEAK_MEMORY_FILE).read_text(encoding="utf-8"))["peak_memory_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return peak if isinstance(peak, int) else None
