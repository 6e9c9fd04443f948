"""The environment of a run: what beside settings and text can change its numbers in the last bit.

It is kept in the run's folder and compared when the run goes on. A resume is exact bit for bit in the environment that
the run was saved in; in another one it is as good, and that is said.
"""

import json
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.ordinary_files import read_ordinary
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.run_folder import RunFolder

CHANGE_BITS = (
    *("torch", "numba", "llvmlite", "numpy", "device", "cpu_capability", "num_threads", "num_processes"),
    *("float32_products", "deterministic", "compiled"),
)
"""Parts of the environment that decide in which order, and by which instructions, numbers are added."""


def compare_environment(folder: RunFolder, here: dict[str, Any], events: EventLog, *, must_be_same: bool) -> None:
    """Say which parts of the environment changed since the run was last trained, and keep the present one.

    Raises:
        UserError: some changed, or nobody knows whether they did, and none must.
    """
    file = folder.environment_file
    is_new = not file.exists() and not any(folder.checkpoints_folder.glob("step-*"))
    found = None if is_new else _difference(_read(file), here, file, unknown_counts=must_be_same)
    if found is not None:
        if must_be_same:
            raise UserError(
                found,
                wanted="the same environment (--require-same-environment)",
                way_out="restore it, or leave the flag out: the run goes on, not bit for bit as before",
            )
        events.emit("warning", message=f"{found}; the last bits of the numbers may differ from here on")
    atomic_write_text(file, json.dumps(here, indent=2) + "\n")


def _read(file: Path) -> dict[str, Any] | None:
    """Return the environment that was kept, or None where the file is not there or damaged."""
    try:
        saved = json.loads(read_ordinary(file))
    except (OSError, ValueError, RecursionError):
        return None
    return saved if isinstance(saved, dict) else None


def _difference(saved: dict[str, Any] | None, here: dict[str, Any], file: Path, *, unknown_counts: bool) -> str | None:
    """Return in a sentence what changed, or that it is not known; None where nothing did.

    A part that was not written down, as by an earlier version, is a difference only where unknown ones count.
    """
    if saved is None:
        return f"the environment that the run was saved in is not known: {file} is missing or damaged"
    changed = [
        f"{name} {saved.get(name, 'unknown')} -> {here[name]}"
        for name in CHANGE_BITS
        if name in here and (name in saved or unknown_counts) and saved.get(name) != here[name]
    ]
    return f"the environment changed since the run was saved: {', '.join(changed)}" if changed else None
