"""The device of a run, and what the machine is."""

import os
import platform
import re
from importlib.metadata import version
from typing import Any

import torch

from mambrane import __version__
from mambrane.core.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the first CUDA device, else the CPU.

    A process that torchrun has started takes the CUDA device of its own number where the name says no other.

    Raises:
        UserError: the device does not exist on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", name):
        raise UserError(f"--device {name}: not a device", wanted="auto, cpu, cuda or cuda:N", way_out="--device auto")
    local_rank = os.environ.get("LOCAL_RANK")
    device = torch.device(f"cuda:{local_rank}" if name == "cuda" and local_rank is not None else name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device {name}: torch {torch.__version__} sees no CUDA device here",
            wanted="a device of this machine",
            way_out="--device cpu, or install a CUDA build of torch",
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(
            f"--device {name}: the last CUDA device here is cuda:{last}",
            wanted="a device of this machine",
            way_out=f"--device cuda:{last}",
        )
    return device


def take_device(name: str) -> torch.device:
    """Return the device of that name for a program to train on; see `resolve_device`."""
    device = resolve_device(name)
    if device.type == "cuda":
        # What asks for "the" GPU, such as the state of its generator, then asks for this one and touches no other.
        torch.cuda.set_device(device)
    return device


def describe_environment(device: torch.device, *, is_compiled: bool = False) -> dict[str, Any]:
    """Return versions, processor, threads and arithmetic: what must be equal for runs to be compared bit for bit."""
    return {
        "mambrane": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in ("numpy", "numba", "llvmlite")},
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "num_cores": os.cpu_count(),
        "float32_products": torch.get_float32_matmul_precision(),
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "compiled": is_compiled,
    }
