"""exp, 2^y, sigmoid, tanh, softplus for Numba kernels: plain arithmetic, so that loops around them become vectors.

    exp(x) = 2^n exp(r),   n = round(x / ln 2),   r = x - n ln 2 in two parts,   exp(r) by a polynomial of degree 7

For float32 the relative error is below 1e-7 and the argument is held within [-87, 88]; NaN stays NaN. For float64 it is
the exact function of the C library. Source of the polynomial: Moshier, Cephes mathematical library, expf.

sigmoid(x) = 1 / (1 + 2^y), y = -x / ln 2, takes 2^y from the rounded y itself, by a polynomial of degree 5, the
minimax fit on [-1/2, 1/2] with constant 1: cheaper, with an absolute error below 1e-7. `power_of_two` is the same for
vectors, with a relative error below 2e-7; 2^0 is 1. With AVX-512 an instruction scales by the power of two, and what
is above 2^127 is infinite (above 2^22 doublings of either sign, or not a number); elsewhere it is held at 2^127.
tanh(x) = 2 sigmoid(2 x) - 1, within 2e-7.
softplus(x) = max(x, 0) + log(1 + u), u = exp(-|x|), takes log(1 + u) / u by a polynomial of degree 8, fitted at
Chebyshev's points of [0, 1]: its relative error is below 4e-7.
"""

import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from mambrane.kernels.numba_internals import get_or_insert_function, ir
from mambrane.kernels.vectors import FEATURES, LANES, Vector, where_gt

_LEAST_POWER = -126.0
"""The power of two that is the least normal number of float32."""

_POWER_OF_TWO = (0.6931469776, 0.2402224209, 0.05550733743, 0.009671512645, 0.001326472712)
"""The polynomial of 2^r in r, r^2, ..., behind its constant 1."""

_LOG_OF_ONE_MORE = (
    *(1.0, -0.4999950152, 0.3331927134, -0.2484436989, 0.1911143108),
    *(-0.1367476971, 0.0783616680, -0.0295885075, 0.0052534578),
)
"""The polynomial of log(1 + u) / u in 1, u, u^2, ..."""


def exp(x: float) -> float:
    """Return e to the power of x; only inside compiled code."""
    raise NotImplementedError


def doublings(exponent: float) -> float:
    """Return y for which 2^y is e to the power of the exponent, lane by lane; only inside compiled code."""
    raise NotImplementedError


def power_of_two(y: float) -> float:
    """Return 2 to the power of each lane of a vector, 0 below the normal numbers; only inside compiled code."""
    raise NotImplementedError


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)); only inside compiled code."""
    raise NotImplementedError


def tanh(x: float) -> float:
    """Return 2 sigmoid(2 x) - 1; only inside compiled code."""
    raise NotImplementedError


def softplus(x: float) -> float:
    """Return log(1 + exp(x)); only inside compiled code."""
    raise NotImplementedError


@intrinsic
def _power_of_two(typing_context: Any, shifted: Any) -> tuple[Any, Callable]:  # noqa: ANN401 -- Numba's own
    """Return 2^n, where n stands in the low bits of the float32 1.5 * 2^23 + n."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 -- Numba's own
        number = context.get_value_type(shifted)
        is_vector, integer = isinstance(shifted, Vector), ir.IntType(32)
        integers = ir.VectorType(integer, shifted.lanes) if is_vector else integer
        shift, bias = (ir.Constant(integers, [c] * shifted.lanes if is_vector else c) for c in (23, 127 << 23))
        bits = builder.shl(builder.bitcast(arguments[0], integers), shift)
        return builder.bitcast(builder.add(bits, bias), number)

    return shifted(shifted), code


@intrinsic
def _exp_of_lanes(typing_context: Any, x: Any) -> tuple[Any, Callable]:  # noqa: ANN401 -- Numba's own
    """Return exp of each lane, from the C library."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 -- Numba's own
        of_one = builder.module.declare_intrinsic("llvm.exp", [context.get_value_type(x.dtype)])
        result = arguments[0]
        for lane in range(x.lanes):
            lane_index = ir.IntType(32)(lane)
            result = builder.insert_element(
                result, builder.call(of_one, [builder.extract_element(result, lane_index)]), lane_index
            )
        return result

    return x(x), code


@overload(exp, jit_options={"fastmath": {"contract"}})
def _exp(x):  # noqa: ANN001, ANN202 -- Numba compares the signatures
    if isinstance(x, Vector) and x.dtype != types.float32:
        return lambda x: _exp_of_lanes(x)
    if not isinstance(x, Vector) and x != types.float32:
        return lambda x: math.exp(x)
    low, high, per_ln2, shift, one = (np.float32(c) for c in (-87.0, 88.0, 1.4426950408889634, 1.5 * 2**23, 1.0))
    ln2_high, ln2_low = np.float32(0.693359375), np.float32(-2.12194440e-4)
    c2, c3, c4 = (np.float32(c) for c in (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2))
    c5, c6, c7 = (np.float32(c) for c in (8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4))

    @no_type_check
    def polynomial(x):  # noqa: ANN001, ANN202 -- typed by Numba
        # Written so that a NaN takes neither branch.
        x = where_gt(low, x, low, x)
        x = where_gt(x, high, high, x)
        shifted = x * per_ln2 + shift
        n = shifted - shift
        r = (x - n * ln2_high) - n * ln2_low
        tail = ((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + c2
        return (tail * (r * r) + r + one) * _power_of_two(shifted)

    return polynomial


@overload(doublings)
def _doublings(exponent):  # noqa: ANN001, ANN202 -- Numba compares the signatures
    per_ln2 = (np.float32 if exponent.dtype == types.float32 else np.float64)(1 / math.log(2))
    return lambda exponent: exponent * per_ln2


@intrinsic
def _scaled(typing_context: Any, number: Any, exponent: Any) -> tuple[Any, Callable]:  # noqa: ANN401 -- Numba's own
    """Return number times 2^exponent, rounded once, by the instruction that AVX-512 has for it; exponents are whole."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 -- Numba's own
        register, mask, mode = ir.VectorType(ir.FloatType(), LANES), ir.IntType(LANES), ir.IntType(32)
        instruction = get_or_insert_function(
            builder.module,
            ir.FunctionType(register, [register, register, register, mask, mode]),
            "llvm.x86.avx512.mask.scalef.ps.512",
        )
        every_lane, current_rounding = ir.Constant(mask, 2**LANES - 1), ir.Constant(mode, 4)
        parts = []
        for first in range(0, number.lanes, LANES):
            lanes = ir.Constant(ir.VectorType(mode, LANES), list(range(first, first + LANES)))
            part, power = (builder.shuffle_vector(each, each, lanes) for each in arguments)
            parts.append(builder.call(instruction, [part, power, part, every_lane, current_rounding]))
        while len(parts) > 1:
            lanes = ir.Constant(ir.VectorType(mode, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [builder.shuffle_vector(one, other, lanes) for one, other in pairs]
        return parts[0]

    return number(number, exponent), code


@overload(power_of_two, jit_options={"fastmath": {"contract"}})
def _power_of_two_of_lanes(y):  # noqa: ANN001, ANN202 -- Numba compares the signatures
    if y.dtype != types.float32:
        lowest, zero, ln2 = (np.float64(c) for c in (_LEAST_POWER, 0.0, math.log(2)))
        return lambda y: where_gt(lowest, y, zero, exp(y * ln2))
    return _polynomial_and_scaling() if "+avx512f" in FEATURES else _polynomial_and_product()


def _polynomial_and_scaling() -> Callable:
    """Return 2^y where an instruction scales by a power of two; what it makes of too low a y is thrown away."""
    low, zero, shift, one = (np.float32(c) for c in (_LEAST_POWER, 0.0, 1.5 * 2**23, 1.0))
    c1, c2, c3, c4, c5 = (np.float32(c) for c in _POWER_OF_TWO)

    @no_type_check
    def polynomial(y):  # noqa: ANN001, ANN202 -- typed by Numba
        n = (y + shift) - shift
        r = y - n
        power = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + one
        # Written so that a NaN takes the other branch. The power of two of what is below the normal numbers is zero.
        return where_gt(low, y, zero, _scaled(power, n))

    return polynomial


def _polynomial_and_product() -> Callable:
    """Return 2^y where the power of two must be made of bits."""
    low, below, high, shift, one = (np.float32(c) for c in (_LEAST_POWER, _LEAST_POWER - 1, 127.0, 1.5 * 2**23, 1.0))
    c1, c2, c3, c4, c5 = (np.float32(c) for c in _POWER_OF_TWO)

    @no_type_check
    def polynomial(y):  # noqa: ANN001, ANN202 -- typed by Numba
        # Written so that a NaN takes neither branch. The power of two of what is below the normal numbers is zero.
        y = where_gt(low, y, below, y)
        y = where_gt(y, high, high, y)
        shifted = y + shift
        r = y - (shifted - shift)
        power = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + one
        return power * _power_of_two(shifted)

    return polynomial


@overload(sigmoid, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _sigmoid(x):  # noqa: ANN001, ANN202 -- Numba compares the signatures
    if x != types.float32:
        return lambda x: 1.0 / (1.0 + math.exp(-x))
    high, minus_per_ln2, shift, one = (np.float32(c) for c in (126.0, -1.4426950408889634, 1.5 * 2**23, 1.0))
    c1, c2, c3, c4, c5 = (np.float32(c) for c in _POWER_OF_TWO)

    @no_type_check
    def polynomial(x):  # noqa: ANN001, ANN202 -- typed by Numba
        y = x * minus_per_ln2
        # Written so that a NaN takes neither branch.
        y = -high if y < -high else y
        y = high if y > high else y
        shifted = y + shift
        r = y - (shifted - shift)
        power = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + one
        return one / (one + power * _power_of_two(shifted))

    return polynomial


@overload(tanh, jit_options={"fastmath": {"contract"}})
def _tanh(x):  # noqa: ANN001, ANN202 -- Numba compares the signatures
    if x != types.float32:
        return lambda x: math.tanh(x)
    one, two = np.float32(1.0), np.float32(2.0)
    return lambda x: two * sigmoid(two * x) - one


@overload(softplus, jit_options={"fastmath": {"contract"}})
def _softplus(x):  # noqa: ANN001, ANN202 -- Numba compares the signatures
    if x != types.float32:
        return lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x)))
    zero = np.float32(0.0)
    c0, c1, c2, c3, c4, c5, c6, c7, c8 = (np.float32(c) for c in _LOG_OF_ONE_MORE)

    @no_type_check
    def polynomial(x):  # noqa: ANN001, ANN202 -- typed by Numba
        # Written so that a NaN takes neither branch, and is what u becomes.
        u = exp(-x if x > zero else x)
        tail = ((((c8 * u + c7) * u + c6) * u + c5) * u + c4) * u + c3
        return (x if x > zero else zero) + (((tail * u + c2) * u + c1) * u + c0) * u

    return polynomial
