"""Asks the processor for memory before a kernel needs it, where the processor guesses badly what comes next."""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types

from numba import types
from numba.extending import intrinsic

from mambrane.kernels.numba_internals import ir
from mambrane.kernels.vectors import LINE_BYTES, address_in_row


@intrinsic
def prefetch_strip(typing_context, prototype, row, start):
    """Ask for a strip that will be read later; meant for the second cache of a core. Changes no result."""
    return _declare_prefetch(prototype, row, writes=0)


@intrinsic
def prefetch_strip_for_write(typing_context, prototype, row, start):
    """Ask for a strip that will be written later; meant for the second cache of a core. Changes no result."""
    return _declare_prefetch(prototype, row, writes=1)


def _declare_prefetch(prototype, row, writes):
    byte_pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    second_cache, is_data = flag(2), flag(1)

    def code(context, builder, signature, arguments):
        _, *where = arguments
        memory = builder.bitcast(address_in_row(context, builder, prototype, row, *where), byte_pointer)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte_pointer], ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag])
        )
        for offset in range(0, prototype.lanes * prototype.dtype.bitwidth // 8, LINE_BYTES):
            line = builder.gep(memory, [ir.IntType(64)(offset)])
            builder.call(prefetch, [line, flag(writes), second_cache, is_data])
        return context.get_dummy_value()

    return types.none(prototype, row, types.intp), code
