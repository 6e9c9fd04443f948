"""How a Python function becomes a kernel: compiled by Numba once, then read from the disk (kernel_cache.py).

What makes a loop fast here, found by measuring:

- Rows are slices of one token, x_BTE[b, t][start:stop]: contiguous, and no index can be negative. Both must be known
  when the loop is compiled, or it stays scalar.
- A loop over a row is a kernel of its own or stands beside the allocation of its scratch memory; each scratch array is
  allocated for itself. Otherwise the compiler must suppose that arrays overlap.
- Taking a row of an array counts a reference to it, and threads that share the array wait for each other's counting: a
  row of 64 neurons took 68 ns instead of 19. Kernels therefore count none, and cannot make or return arrays (scratch
  memory comes from the stack, blocks.py); one that must says so, and leaves loops over many short rows to others.
- Constants have the type of the arrays: dtype(1), not 1. A Python number would turn float32 into float64.
- Rows are copied by a loop: assigning an array to a slice costs seconds of compilation for its error message.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba

from mambrane.kernels.kernel_cache import KernelCache
from mambrane.kernels.numba_internals import njit

# What kernels inline; the constants of an operation stand in the reference.py beside its kernels.
_SHARED_FILES = (
    "addresses.py",
    "blocks.py",
    "compiled.py",
    "numba_internals.py",
    "numba_math.py",
    "prefetch.py",
    "products.py",
    "strips.py",
    "quads.py",
    "tiles.py",
    "vectors.py",
)


def kernel(
    *, fuses: bool = True, reorders_sums: bool = False, makes_arrays: bool = False
) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function; it releases the interpreter lock, so threads can share it out.

    Division does not raise as Python's does (the check would keep a loop scalar). NaN and infinity keep their meaning.

    Args:
        fuses: a product and a sum may become one instruction, rounded once.
        reorders_sums: a sum may be taken in another order, the same one for each call, so that it can be a vector's.
        makes_arrays: it makes or returns arrays, and counts references for that.
    """
    fastmath = {flag for flag, is_on in (("contract", fuses), ("reassoc", reorders_sums)) if is_on}

    def compiles(function: Callable) -> Callable:
        # The shape checker of the tests wraps every function; Numba needs the bare one.
        bare = inspect.unwrap(function)
        options: dict[str, Any] = {"error_model": "numpy", "fastmath": fastmath or False, "_nrt": makes_arrays}
        compiled: Any = njit(bare, nogil=True, **options)
        # Whatever goes into the kernel counts: its own file, what it takes from others, and who compiles it.
        source = Path(bare.__code__.co_filename)
        stamp = _SHARED_SOURCES + _hash_of(source, source.with_name("reference.py")) + str(bare.__code__.co_firstlineno)
        compiled._cache = KernelCache(bare, hashlib.sha256(stamp.encode()).hexdigest())
        return compiled

    return compiles


def _hash_of(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()


_VERSIONS = f"{sys.version} {numba.__version__} {llvmlite.__version__} "
_SHARED_SOURCES = _VERSIONS + _hash_of(*(Path(__file__).with_name(name) for name in _SHARED_FILES))
