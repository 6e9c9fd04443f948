"""Makes a function a kernel of Triton, or a part of kernels."""

import inspect
from collections.abc import Callable
from typing import Any

import triton


def kernel(function: Callable) -> Any:  # noqa: ANN401 -- of Triton's own types one or another, by TRITON_INTERPRET
    """Return what Triton makes of a function, without the type checks that the tests put around functions."""
    return triton.jit(inspect.unwrap(function))
