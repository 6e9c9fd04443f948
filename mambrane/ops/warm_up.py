"""Compiles the CPU kernels before they are needed, and says so: no silent pause in the middle of a run.

A kernel is compiled once on a machine and kept on disk beside the source (or in the user's cache folder), for this
processor. Later runs only read it, which takes well under a second. What is run for it is `example()` of the file
example.py in the operation's folder.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import torch

from mambrane.kernels import compiler_process

WITH_KERNELS = tuple(path.parent.name for path in sorted(Path(__file__).parent.glob("*/example.py")))
"""Operations that have kernels to compile."""


def compile_kernels(announce: Callable[[str], None], operations: Sequence[str] | None = None) -> None:
    """Read the kernels of operations from the disk; those that are not there are compiled first.

    Args:
        announce: receives a line when a kernel really has to be compiled, and one at the end; nothing if none has. Also
            one for each file of a kernel that is damaged, and one where kernels cannot be kept.
        operations: names of operations; all that have kernels where not given.

    Raises:
        UserError: a kernel could not be compiled.
    """
    with compiler_process.notices.to(announce):
        run_kernels(WITH_KERNELS if operations is None else operations)


def run_kernels(operations: Sequence[str]) -> None:
    """Run the examples of operations forward and backward, on small float32 tensors."""
    with torch.enable_grad():
        for name in operations:
            outputs = import_module(f"mambrane.ops.{name}.example").example()
            total = torch.stack([output.sum() for output in outputs]).sum()
            if total.requires_grad:
                total.backward()
