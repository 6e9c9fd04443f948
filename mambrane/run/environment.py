"""The environment of a run: what beside settings and text can change its numbers in the last bit.

It is kept in the run's folder and compared when the run goes on. A resume is exact bit for bit in the environment that
the run was saved in; in another one it is as good, and that is said.
"""

import json
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.storage.run_folder import RunFolder

CHANGE_BITS = (
    *("torch", "numba", "llvmlite", "numpy", "device", "cpu_capability", "num_threads"),
    *("float32_products", "deterministic", "compiled"),
)
"""Parts of the environment that decide in which order, and by which instructions, numbers are added."""


def compare_environment(folder: RunFolder, here: dict[str, Any], events: EventLog, *, must_be_same: bool) -> None:
    """Say which parts of the environment changed since the run was last trained, and keep the present one.

    Raises:
        UserError: some changed, and none must.
    """
    file = folder.path / "environment.json"
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        saved = None
    changed = []
    if isinstance(saved, dict):
        changed = [
            f"{name} {saved[name]} -> {here[name]}"
            for name in CHANGE_BITS
            if name in saved and name in here and saved[name] != here[name]
        ]
    if changed:
        found = f"the environment changed since the run was saved: {', '.join(changed)}"
        if must_be_same:
            raise UserError(
                found,
                wanted="the same environment (--require-same-environment)",
                way_out="restore it, or leave the flag out: the run goes on, not bit for bit as before",
            )
        events.emit("warning", message=f"{found}; the last bits of the numbers may differ from here on")
    atomic_write_text(file, json.dumps(here, indent=2) + "\n")
