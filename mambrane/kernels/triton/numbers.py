"""Functions of numbers that kernels share, in float32.

`tl.exp2` is one instruction of a GPU, `tl.exp` five: exponentials are powers of two, their factor LOG2_E taken once.
"""

import triton.language as tl

from mambrane.kernels.triton.jit import kernel
from mambrane.kernels.triton.launch import is_interpreting

LOG2_E = tl.constexpr(1.4426950408889634)
INTERPRETS = tl.constexpr(is_interpreting())


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


@kernel
def product(left, right):
    """Return a product of matrices with sums in float32."""
    return product_added(left, right, tl.zeros([left.shape[0], right.shape[1]], tl.float32))


@kernel
def product_added(left, right, total):
    """Return the sum of float32 numbers and a product of matrices; float32 factors are not shortened to TF32."""
    if INTERPRETS:
        # The interpreter takes bfloat16 factors for the integers that it keeps them in.
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, total, input_precision="ieee")
