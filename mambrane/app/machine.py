"""`mambrane info` without a run: what a bug report needs to know about this machine."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mambrane import __version__
from mambrane.data.cache_folder import cache_folder
from mambrane.ops.dispatch import explain
from mambrane.ops.lif import numba_cpu
from mambrane.watch.formatting import size
from mambrane.watch.plain_console import plain_console

SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD")
"""A variable with one of these in its name is shown without its value: what is printed goes into bug reports."""
PACKAGES = ("torch", "numba", "llvmlite", "numpy", "safetensors", "tokenizers", "rich", "tyro", "matplotlib", "scipy")


def print_machine() -> int:
    """Print versions, processor, threads, the backend that each operation takes and why, and the cache folders."""
    console = plain_console()
    for what, answer in machine_facts().items():
        if isinstance(answer, dict):
            console.print(what)
            for name, line in answer.items():
                console.print(f"  {name.ljust(22)} {line}", soft_wrap=True)
        else:
            console.print(f"{what.ljust(24)} {answer}", soft_wrap=True)
    return 0


def machine_facts() -> dict[str, Any]:
    """Return what is printed, by name; a nested dict is a list of its own."""
    return {
        "mambrane": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": {name: _version_of(name) for name in PACKAGES},
        "processor": _processor(),
        "CPU capability of torch": torch.backends.cpu.get_cpu_capability(),
        "cores": f"{os.cpu_count()} in the machine, {len(os.sched_getaffinity(0))} for this process"
        if hasattr(os, "sched_getaffinity")
        else str(os.cpu_count()),
        "threads of torch": str(torch.get_num_threads()),
        "GPU": _gpu(),
        "operations": explain(),
        "cache folders": {what: _size_text(folders) for what, folders in cache_folders().items()},
        "variables": dict(_variables()) or {"none": ""},
    }


def cache_folders() -> dict[str, list[Path]]:
    """Return the folders that Mambrane keeps things in beside those of runs, by what they hold."""
    package = Path(__file__).parent.parent
    # Every kernel is kept by the same rule; this one stands for all.
    kernel: Any = numba_cpu._forward
    chosen: Path | None = kernel._cache.folder
    beside_source = chosen is not None and chosen.is_relative_to(package)
    kept = [path for path in package.rglob("__pycache__") if any(path.glob("*.kernel"))] if beside_source else []
    return {
        "text and tokens": [cache_folder()],
        # Below the folder that is named or the user's, each source folder has one of its own.
        "compiled kernels": kept or ([] if chosen is None else [chosen if beside_source else chosen.parent]),
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Return the name of the processor as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "none that torch can use"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _size_text(folders: list[Path]) -> str:
    """Return where, and how much is in it; of several folders the one that holds them all."""
    if not folders:
        return "none can be written: every process compiles for itself"
    place = Path(os.path.commonpath(folders))
    # Not an error if a file goes between being listed and being asked for its size: another run tidies up.
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files if path.exists()]
    return f"{place}: {size(sum(sizes))} in {len(sizes):,} files"


def _variables() -> Iterator[tuple[str, str]]:
    """Yield the variables of the environment that change what happens here; of a secret only that it is set."""
    for name, value in sorted(os.environ.items()):
        if name.startswith(("MAMBRANE_", "NUMBA_", "OMP_", "GOMP_", "MKL_", "CUDA_")):
            yield name, "(set)" if any(word in name.upper() for word in SECRET_WORDS) else value
