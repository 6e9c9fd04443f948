"""Vectors as values inside Numba kernels: LANES numbers that are added, multiplied and kept in registers together.

The compiler turns loops over rows into vector instructions by itself, but it does not keep a tile of sums in registers
across a loop, as matrix products need. A kernel that says what a vector is can:

    total = fma(load(p_IL, i), load(v_IL, i), total)          total += p[i] * v[i] in each lane

A row is one vector of a contiguous array, LANES numbers or WIDE_LANES; rows are counted from the start of the array,
whatever its axes. A strip is as many neighbouring numbers as another vector has, from any offset of a contiguous row:

    v = fma(decay, v, load_strip(v, current_S, start))        for v = zeros(current_S, STRIP_LANES) and the like

The operators +, -, *, / and abs take vectors, or a vector and a number. Whether a product and a sum of them become one
instruction, rounded once, is the kernel's choice (`fuses`); `fma` always lets them. Any processor can run this: a
vector wider than its registers becomes several instructions.
"""

# ruff: noqa: ANN001, ANN002, ANN201, ANN202 -- Numba finds the types

import operator
from collections.abc import Callable

from numba import config, types
from numba.extending import intrinsic, models, overload, register_model

from mambrane.kernels.numba_internals import get_host_cpu_features, get_or_insert_function, ir

LANES = 16
"""Numbers of a vector: a register of 512 bits in float32."""

CHOSEN_FEATURES = config.CPU_FEATURES  # type: ignore[attr-defined]  # Numba adds its settings when it starts
FEATURES = (get_host_cpu_features() if CHOSEN_FEATURES is None else CHOSEN_FEATURES).split(",")
"""What Numba compiles for and keeps its kernels apart by: the processor's own, or what NUMBA_CPU_FEATURES names."""

WIDE_LANES = 2 * LANES if "+avx512f" in FEATURES else LANES
"""Numbers of a wide vector: in float32 four of them take 8 of 32 registers of 512 bits, or 8 of 16 of 256 bits."""

STRIP_LANES = 2 * WIDE_LANES
"""Numbers of a wide strip: in float32 four registers, so that one waits for its result while others work."""

LINE_BYTES = 64
"""A line of the cache, and the widest register."""


class Vector(types.Type):
    """A fixed count of numbers of one type."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector) -> None:
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.dtype).get_data_type(), vector.lanes))


@intrinsic
def load(typing_context, array, row):
    """Return one row of an array as a vector."""
    vector = Vector(array.dtype, LANES)
    return vector(array, types.intp), _code_of_load(vector, array, _address_of_row)


@intrinsic
def load_wide(typing_context, array, row):
    """Return one row of an array as a wide vector."""
    vector = Vector(array.dtype, WIDE_LANES)
    return vector(array, types.intp), _code_of_load(vector, array, _address_of_row)


@intrinsic
def load_strip(typing_context, prototype, row, start):
    """Return as many numbers of a row as another vector has, from offset `start`."""
    return prototype(prototype, row, types.intp), _code_of_load(prototype, row, address_in_row)


def _code_of_load(vector, array, address):
    def code(context, builder, signature, arguments):
        where = address(context, builder, vector, array, *arguments[-2:])
        return builder.load(where, align=array.dtype.bitwidth // 8)

    return code


@intrinsic
def store(typing_context, vector, array, row):
    """Write a vector to one row of an array."""
    return types.none(vector, array, types.intp), _code_of_store(vector, array, _address_of_row)


@intrinsic
def store_strip(typing_context, vector, row, start):
    """Write a vector to a row, from offset `start`."""
    return types.none(vector, row, types.intp), _code_of_store(vector, row, address_in_row)


def _code_of_store(vector, array, address):
    def code(context, builder, signature, arguments):
        value, *where = arguments
        builder.store(value, address(context, builder, vector, array, *where), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return code


def _address_of_row(context, builder, vector, array, value, row):
    """Return where a row stands in memory."""
    return address_in_row(context, builder, vector, array, value, builder.mul(row, ir.Constant(row.type, vector.lanes)))


def address_in_row(context, builder, vector, array, value, start):
    """Return where the numbers of a row from `start` on stand in memory, as a pointer to a vector."""
    assert array.layout == "C", f"a contiguous array is needed, not {array}"
    memory = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(memory, [start]), context.get_value_type(vector).as_pointer())


@intrinsic(prefer_literal=True)
def zeros(typing_context, array, lanes):
    """Return a vector of zeros of the type of an array; how many is a constant."""
    vector = Vector(array.dtype, lanes.literal_value)

    def code(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(vector), [0.0] * vector.lanes)

    return vector(array, lanes), code


@intrinsic
def lanes_of(typing_context, vector):
    """Return how many numbers a vector has."""

    def code(context, builder, signature, arguments):
        return ir.IntType(64)(vector.lanes)

    return types.intp(vector), code


@intrinsic
def sum_of_lanes(typing_context, vector):
    """Return the sum of all lanes: the upper half is added to the lower until one is left."""

    def code(context, builder, signature, arguments):
        (total,) = arguments
        while (half := total.type.count // 2) > 0:
            lanes = ir.VectorType(ir.IntType(32), half)
            lower, upper = (
                builder.shuffle_vector(total, total, ir.Constant(lanes, list(range(first, first + half))))
                for first in (0, half)
            )
            total = builder.fadd(lower, upper)
        return builder.extract_element(total, ir.IntType(32)(0))

    return vector.dtype(vector), code


def _half_of_lanes(is_upper: bool) -> Callable:
    def declare(typing_context, vector):
        half = Vector(vector.dtype, vector.lanes // 2)

        def code(context, builder, signature, arguments):
            first = half.lanes if is_upper else 0
            lanes = ir.VectorType(ir.IntType(32), half.lanes)(list(range(first, first + half.lanes)))
            return builder.shuffle_vector(*arguments, *arguments, lanes)

        return half(vector), code

    return declare


lower_half, upper_half = intrinsic(_half_of_lanes(is_upper=False)), intrinsic(_half_of_lanes(is_upper=True))
"""The first half of the lanes of a vector, and the other."""


def _lanewise(make_code: Callable) -> Callable:
    """Return an operation on vectors and numbers of one type; a number stands for the same one in each lane."""

    def declare(*arguments):
        result = next((each for each in arguments if isinstance(each, Vector)), arguments[0])

        def code(context, builder, signature, values):
            wanted = context.get_value_type(result)
            filled = (value if value.type == wanted else _fill(builder, wanted, value) for value in values)
            return make_code(builder, *filled)

        return result(*arguments), code

    return declare


def _fill(builder, vector, number):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, lanes)


_CONTRACT = ("contract",)
_declare_fma = _lanewise(
    lambda builder, left, right, total: builder.fadd(total, builder.fmul(left, right, flags=_CONTRACT), flags=_CONTRACT)
)
_declare_where_gt, _declare_where_ge = (
    _lanewise(
        lambda builder, left, right, if_so, otherwise, sign=sign: builder.select(
            builder.fcmp_ordered(sign, left, right), if_so, otherwise
        )
    )
    for sign in (">", ">=")
)


@intrinsic
def broadcast(typing_context, number):
    """Return a vector with the same number in each lane."""

    def code(context, builder, signature, arguments):
        return _fill(builder, context.get_value_type(signature.return_type), arguments[0])

    return Vector(number, LANES)(number), code


@intrinsic
def fma(typing_context, left, right, total):
    """Return total + left * right, rounded once where the processor can."""
    return _declare_fma(left, right, total)


@intrinsic
def where_gt(typing_context, left, right, if_larger, otherwise):
    """Return, lane by lane, `if_larger` where left > right, else `otherwise`; NaN is not larger."""
    return _declare_where_gt(left, right, if_larger, otherwise)


@intrinsic
def where_ge(typing_context, left, right, if_so, otherwise):
    """Return, lane by lane, `if_so` where left >= right, else `otherwise`; NaN is not at least anything."""
    return _declare_where_ge(left, right, if_so, otherwise)


@intrinsic
def nonzero_lanes(typing_context, vector):
    """Return a number whose bit i is set where lane i is not zero; NaN is not zero."""

    def code(context, builder, signature, arguments):
        zeros = ir.Constant(arguments[0].type, [0.0] * vector.lanes)
        bits = builder.bitcast(builder.fcmp_unordered("!=", arguments[0], zeros), ir.IntType(vector.lanes))
        return builder.zext(bits, ir.IntType(64))

    return types.uint64(vector), code


@intrinsic
def lowest_bit(typing_context, bits):
    """Return the index of the lowest bit that is set; there must be one."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.intp(bits), code


def _overload_operator(python_operator: Callable, instruction: str) -> None:
    # An instruction without flags of its own gets the kernel's, if it comes to stand in the kernel.
    declare = _lanewise(lambda builder, left, right: getattr(builder, instruction)(left, right))

    @intrinsic
    def combine(typing_context, left, right):
        return declare(left, right)

    @overload(python_operator, inline="always")
    def combines(left, right):
        if isinstance(left, Vector) or isinstance(right, Vector):
            return lambda left, right: combine(left, right)
        return None


_overload_operator(operator.add, "fadd")
_overload_operator(operator.sub, "fsub")
_overload_operator(operator.mul, "fmul")
_overload_operator(operator.truediv, "fdiv")


@intrinsic
def _absolute(typing_context, vector):
    def code(context, builder, signature, arguments):
        vector_type = arguments[0].type
        name = f"llvm.fabs.v{vector.lanes}f{vector.dtype.bitwidth}"
        return builder.call(
            get_or_insert_function(builder.module, ir.FunctionType(vector_type, [vector_type]), name), arguments
        )

    return vector(vector), code


@overload(abs)
def _absolute_of_vector(vector):
    return (lambda vector: _absolute(vector)) if isinstance(vector, Vector) else None
