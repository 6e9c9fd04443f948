"""Which form of an operation runs, and why. Nothing falls back in silence.

A form is a file in the operation's folder: `reference.py` (plain PyTorch, any device), `chunked.py` (matrix products
over chunks of tokens, plain PyTorch, any device), `numba_cpu.py` (kernels for the CPU), `onednn_cpu.py` (oneDNN for
the CPU, where PyTorch was built with it). "auto" takes the fastest that the device has.
"""

from pathlib import Path
from typing import Literal

import torch

from mambrane.core.errors import UserError

Backend = Literal["auto", "reference", "chunked", "numba", "onednn"]

ONEDNN_TAKES_PLAIN_TENSORS = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether this build of PyTorch has oneDNN and the operator that hands it ordinary tensors."""
_FILES = {"numba": "numba_cpu.py", "onednn": "onednn_cpu.py", "chunked": "chunked.py", "reference": "reference.py"}
"""The file of each form, the fastest first."""
_FORMS = {
    path.parent.name: tuple(form for form, file in _FILES.items() if path.with_name(file).exists())
    for path in sorted(Path(__file__).parent.glob("*/reference.py"))
}
"""The forms of each operation, the fastest first."""


def choose_backend(operation: str, device: torch.device, requested: Backend = "auto") -> str:
    """Return the form of the operation to run: "numba", "onednn", "chunked" or "reference".

    Raises:
        UserError: the requested form cannot run on this device, or the operation has none of that name.
    """
    forms = _FORMS[operation]
    able = [form for form in forms if _can_run(form, device)]
    if requested == "auto":
        return able[0]
    if requested not in able:
        why = f"it does not run on {device} here" if requested in forms else f"{operation} has no such form"
        raise UserError(f'backend "{requested}" for {operation}: {why}', wanted="a form that can run", way_out='"auto"')
    return requested


def explain(device: torch.device | None = None) -> dict[str, str]:
    """Return, for each operation, the form that runs on the device (the CPU if none is named) and why."""
    device = device or torch.device("cpu")
    return {operation: _reason(operation, device) for operation in _FORMS}


def _can_run(form: str, device: torch.device) -> bool:
    if form == "onednn":
        return device.type == "cpu" and ONEDNN_TAKES_PLAIN_TENSORS
    return form != "numba" or device.type == "cpu"


def _reason(operation: str, device: torch.device) -> str:
    form = choose_backend(operation, device)
    if form == "numba":
        import numba

        return f"numba (CPU kernels compiled by Numba {numba.__version__})"
    if form == "onednn":
        return "oneDNN (exact float32 products, part of PyTorch)"
    if form == "chunked":
        return "chunked (matrix products over chunks of tokens, in plain PyTorch)"
    if device.type == "cpu":
        return "reference (plain PyTorch; no CPU kernel yet)"
    return f"reference (plain PyTorch on {device.type}; no kernel for this device yet)"
