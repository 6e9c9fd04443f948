"""Numbers that lie side by side, brought into vectors apart: the four numbers of each lane, four vectors of LANES.

Lane l has the numbers at start + l * step, ..., + 3. A loop over single numbers took five times as long.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types

from numba import types
from numba.extending import intrinsic

from mambrane.kernels.numba_internals import ir
from mambrane.kernels.vectors import LANES, Vector

NUMBERS_OF_QUAD = 4


@intrinsic
def load_quads(typing_context, row, start, step):
    """Return four vectors: number 0, 1, 2 and 3 of each lane, from a contiguous row."""
    vectors = types.UniTuple(Vector(row.dtype, LANES), NUMBERS_OF_QUAD)

    def code(context, builder, signature, arguments):
        quads = [
            builder.load(each, align=row.dtype.bitwidth // 8) for each in _places(context, builder, row, arguments)
        ]
        while len(quads) > 1:
            quads = [_join(builder, first, second) for first, second in zip(quads[::2], quads[1::2], strict=True)]
        found = [_pick(builder, quads[0], [NUMBERS_OF_QUAD * lane + n for lane in range(LANES)]) for n in range(4)]
        return context.make_tuple(builder, vectors, found)

    return vectors(row, types.intp, types.intp), code


@intrinsic
def store_quads(typing_context, vectors, row, start, step):
    """Write four vectors to where `load_quads` reads them."""

    def code(context, builder, signature, arguments):
        a, b, c, d = (builder.extract_value(arguments[0], n) for n in range(NUMBERS_OF_QUAD))
        joined = _join(builder, _join(builder, a, b), _join(builder, c, d))
        mixed = _pick(builder, joined, [n * LANES + lane for lane in range(LANES) for n in range(NUMBERS_OF_QUAD)])
        for lane, place in enumerate(_places(context, builder, row, arguments[1:])):
            quad = _pick(builder, mixed, [NUMBERS_OF_QUAD * lane + n for n in range(NUMBERS_OF_QUAD)])
            builder.store(quad, place, align=row.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(vectors, row, types.intp, types.intp), code


def _places(context, builder, row, arguments):
    """Return where the numbers of each lane stand, as pointers to vectors of four."""
    assert row.layout == "C", f"a contiguous row is needed, not {row}"
    value, start, step = arguments
    memory = context.make_array(row)(context, builder, value).data
    quad = ir.VectorType(context.get_value_type(row.dtype), NUMBERS_OF_QUAD).as_pointer()
    offsets = (builder.add(start, builder.mul(step, ir.Constant(step.type, lane))) for lane in range(LANES))
    return [builder.bitcast(builder.gep(memory, [offset]), quad) for offset in offsets]


def _join(builder, first, second):
    return _shuffle(builder, first, second, range(2 * first.type.count))


def _pick(builder, vector, lanes):
    return _shuffle(builder, vector, ir.Constant(vector.type, ir.Undefined), lanes)


def _shuffle(builder, first, second, lanes):
    lanes = list(lanes)
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))
