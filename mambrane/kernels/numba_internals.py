"""Everything that the kernels take from inside Numba, llvmlite's IR and torch, imported in this file alone.

None of it is promised to stay: another version may rename it. numba and llvmlite are therefore capped in
pyproject.toml, and `tests/kernels/test_numba_internals.py` names the versions that were tried.
"""

import torch
from llvmlite import ir
from numba import njit
from numba.core.caching import CompileResultCacheImpl
from numba.core.cgutils import get_or_insert_function
from numba.core.codegen import get_host_cpu_features
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.np.arrayobj import make_array, populate_array

TRIED_VERSIONS = {"numba": ("0.68.1", "0.61.0"), "llvmlite": ("0.50.0", "0.44.0"), "torch": ("2.13.0", "2.9.0")}
"""Versions that the tests have passed with, the newest first; with the older ones every kernel was compiled and run."""

__all__ = [
    "TRIED_VERSIONS",
    "CompileResult",
    "CompileResultCacheImpl",
    "SingleLevelFunction",
    "below_autograd",
    "destroy_library",
    "dumps",
    "get_host_cpu_features",
    "get_or_insert_function",
    "ir",
    "is_shown_for_batch",
    "make_array",
    "njit",
    "populate_array",
]

below_autograd = torch._C._AutoDispatchBelowAutograd
SingleLevelFunction = torch.autograd.function._SingleLevelFunction
"""torch.autograd.Function as torch.vmap uses it, inside of which the public one refuses to run."""
is_shown_for_batch = torch._C._functorch.is_batchedtensor
"""Returns whether a tensor is what torch.vmap shows of a batch."""


def destroy_library(library: torch.library.Library) -> None:
    """Forget what a library registered, so that its names can be registered again."""
    library._destroy()
