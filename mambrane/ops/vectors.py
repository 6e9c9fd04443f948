"""Vectors as values inside Numba kernels: LANES numbers that are added, multiplied and kept in registers together.

The compiler turns loops over rows into vector instructions by itself, but it does not keep a tile of sums in registers
across a loop, as matrix products need. A kernel that says what a vector is can:

    total = fused(load(p_IL, i), load(v_IL, i), total)          total += p[i] * v[i] in each lane

A row is one vector of a contiguous array, LANES numbers or WIDE_LANES; rows are counted from the start of the array,
whatever its axes. The operators +, -, * take vectors, or a vector and a number. A product and a sum of them may become
one instruction, rounded once. Any processor can run this: a vector wider than its registers becomes several
instructions.
"""

# ruff: noqa: ANN001, ANN002, ANN201, ANN202 -- Numba finds the types

import operator
from collections.abc import Callable

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
"""Numbers of a vector: a register of 512 bits in float32."""

WIDE_LANES = 2 * LANES if binding.get_host_cpu_features().get("avx512f") else LANES
"""Numbers of a wide vector: in float32 four of them take 8 of 32 registers of 512 bits, or 8 of 16 of 256 bits."""


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
    return _declare_load(array, LANES)


@intrinsic
def load_wide(typing_context, array, row):
    """Return one row of an array as a wide vector."""
    return _declare_load(array, WIDE_LANES)


def _declare_load(array, lanes):
    vector = Vector(array.dtype, lanes)

    def code(context, builder, signature, arguments):
        return builder.load(_place(context, builder, vector, array, *arguments), align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), code


@intrinsic
def store(typing_context, vector, array, row):
    """Write a vector to one row of an array."""

    def code(context, builder, signature, arguments):
        value, *where = arguments
        builder.store(value, _place(context, builder, vector, array, *where), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(vector, array, types.intp), code


def _place(context, builder, vector, array, value, row):
    """Return where a row stands in memory."""
    assert array.layout == "C", f"a contiguous array is needed, not {array}"
    start = context.make_array(array)(context, builder, value).data
    number = builder.mul(row, ir.Constant(row.type, vector.lanes))
    return builder.bitcast(builder.gep(start, [number]), context.get_value_type(vector).as_pointer())


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
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, places)


_CONTRACT = ("contract",)
_declare_fused = _lanewise(
    lambda builder, left, right, total: builder.fadd(total, builder.fmul(left, right, flags=_CONTRACT), flags=_CONTRACT)
)
_declare_choice = _lanewise(
    lambda builder, left, right, if_larger, otherwise: builder.select(
        builder.fcmp_ordered(">", left, right), if_larger, otherwise
    )
)


@intrinsic
def filled(typing_context, number):
    """Return a vector with the same number in each lane."""

    def code(context, builder, signature, arguments):
        return _fill(builder, context.get_value_type(signature.return_type), arguments[0])

    return Vector(number, LANES)(number), code


@intrinsic
def fused(typing_context, left, right, total):
    """Return total + left * right, rounded once where the processor can."""
    return _declare_fused(left, right, total)


@intrinsic
def choose(typing_context, left, right, if_larger, otherwise):
    """Return, lane by lane, `if_larger` where left > right, else `otherwise`; NaN is not larger."""
    return _declare_choice(left, right, if_larger, otherwise)


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
    """Return the place of the lowest bit that is set; there must be one."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.intp(bits), code


def _overload_operator(python_operator: Callable, instruction: str) -> None:
    declare = _lanewise(lambda builder, left, right: getattr(builder, instruction)(left, right, flags=_CONTRACT))

    @intrinsic
    def combine(typing_context, left, right):
        return declare(left, right)

    @overload(python_operator)
    def combines(left, right):
        if isinstance(left, Vector) or isinstance(right, Vector):
            return lambda left, right: combine(left, right)
        return None


_overload_operator(operator.add, "fadd")
_overload_operator(operator.sub, "fsub")
_overload_operator(operator.mul, "fmul")
