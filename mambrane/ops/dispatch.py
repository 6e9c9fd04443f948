"""Which form of an operation runs, and why. Nothing falls back in silence.

A form is a file in the operation's folder: `reference.py` (plain PyTorch, any device), `numba_cpu.py` (kernels for
the CPU). "auto" takes the fastest that the device has.
"""

import functools
from pathlib import Path
from typing import Literal

import torch

from mambrane.core.errors import UserError

Backend = Literal["auto", "reference", "numba"]

_FOLDER = Path(__file__).parent
_FILES = {"numba": "numba_cpu.py", "reference": "reference.py"}


def choose_backend(operation: str, device: torch.device, requested: Backend = "auto") -> str:
    """Return the form of the operation to run: "numba" or "reference".

    Raises:
        UserError: the requested form cannot run on this device, or the operation has none of that name.
    """
    has_kernel = "numba" in _backends(operation)
    if requested == "auto":
        return "numba" if has_kernel and device.type == "cpu" else "reference"
    if requested == "numba" and not (has_kernel and device.type == "cpu"):
        why = f"it runs on a CPU, not on {device}" if has_kernel else f"{operation} has no such kernel"
        raise UserError(f'backend "numba" for {operation}: {why}', wanted="a form that can run", way_out='"auto"')
    return requested


def explain(device: torch.device | None = None) -> dict[str, str]:
    """Return, for each operation, the form that runs on the device (the CPU if none is named) and why."""
    device = device or torch.device("cpu")
    return {operation: _reason(operation, device) for operation in _operations()}


def _reason(operation: str, device: torch.device) -> str:
    if choose_backend(operation, device) == "numba":
        import numba

        return f"numba (CPU kernels compiled by Numba {numba.__version__})"
    if device.type == "cpu":
        return "reference (plain PyTorch; no CPU kernel yet)"
    return f"reference (plain PyTorch on {device.type}; no kernel for this device yet)"


@functools.cache
def _operations() -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/reference.py")))


@functools.cache
def _backends(operation: str) -> tuple[str, ...]:
    return tuple(name for name, file in _FILES.items() if (_FOLDER / operation / file).exists())
