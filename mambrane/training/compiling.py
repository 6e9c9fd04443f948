"""`--compile`: the blocks of a model by torch's compiler, each as one piece of machine code around our kernels.

The compiler fuses what lies between products and kernels (norms, gates, residuals, casts). It rounds in places of its
own, so a run's last bits are those of compiled code from its first step; the same code gives the same bits each time.
"""

import importlib.util
import os
import shutil
import sys

import torch

from mambrane.core.errors import UserError
from mambrane.models.language_model import LanguageModel


def compile_blocks(model: LanguageModel, device: torch.device) -> None:
    """Let each block be compiled when it is first called.

    Raises:
        UserError: this machine lacks what the compiler needs.
    """
    missing = missing_for_compiling(device)
    if missing is not None:
        raise UserError(f"--compile: {missing}", wanted="a compiler", way_out="install it, or leave --compile out")
    for block in model.blocks:
        block.compile()


def missing_for_compiling(device: torch.device) -> str | None:
    """Return what this machine lacks for compiling, or None."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed, which the compiler writes GPU kernels in"
    # Those that torch and Triton ask for by default.
    variable, usual = ("CC", ("gcc", "clang")) if device.type == "cuda" else ("CXX", (_cpp_compiler(),))
    named = os.environ.get(variable)
    candidates = (named,) if named else usual
    if not any(shutil.which(candidate) for candidate in candidates):
        return f"there is no {' or '.join(candidates)} here, which the compiler calls"
    return None


def _cpp_compiler() -> str:
    return "clang++" if sys.platform == "darwin" else "g++"
