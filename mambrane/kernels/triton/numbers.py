"""Functions of numbers that kernels share, in float32.

`tl.exp2` is one instruction of a GPU, `tl.exp` five: exponentials are powers of two, their factor LOG2_E taken once.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel

LOG2_E = tl.constexpr(1.4426950408889634)


@kernel
def load(pointer, places, inside):
    """Return numbers as float32, 0 where not inside."""
    return tl.load(pointer + places, mask=inside, other=0.0).to(tl.float32)


@kernel
def load_flag(pointer, place, inside):
    """Return whether the byte at a place is not 0; False where not inside."""
    return tl.load(pointer + place, mask=inside, other=0) != 0


@kernel
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + tl.exp2(x * -LOG2_E))


@kernel
def tanh(x):
    """Return the hyperbolic tangent: 1 - 2 / (exp(2 |x|) + 1), or its series for a small x, which loses no digits."""
    size = tl.abs(x)
    square = x * x
    series = size * (1.0 + square * (-1.0 / 3 + square * (2.0 / 15 + square * (-17.0 / 315 + square * (62.0 / 2835)))))
    large = 1.0 - 2.0 / (tl.exp2(size * (2.0 * LOG2_E)) + 1.0)
    result = tl.where(size < 0.25, series, large)
    return tl.where(x < 0, -result, result)
