"""How a Python function becomes a kernel: compiled by Numba once, then read from its cache beside the source."""

import inspect
from collections.abc import Callable

from numba import njit


def kernel(*, fuses: bool = True, reorders_sums: bool = False) -> Callable[[Callable], Callable]:
    """Return a decorator that compiles a function; it releases the interpreter lock, so threads can share it out.

    Division does not raise as Python's does (the check would keep a loop scalar). NaN and infinity keep their meaning.

    Args:
        fuses: a product and a sum may become one instruction, rounded once.
        reorders_sums: a sum may be taken in another order, the same one for each call, so that it can be a vector's.
    """
    fastmath = {flag for flag, is_on in (("contract", fuses), ("reassoc", reorders_sums)) if is_on}

    def compiles(function: Callable) -> Callable:
        # The shape checker of the tests wraps every function; Numba needs the bare one.
        bare = inspect.unwrap(function)
        return njit(bare, cache=True, nogil=True, error_model="numpy", fastmath=fastmath or False)

    return compiles
