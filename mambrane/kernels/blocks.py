"""How kernels cut a batch into tasks: one sequence and one block of neighbouring channels each.

Inside a kernel, rows are taken as slices of one token, x_BTE[b, t][start:stop]: Numba then knows that they are
contiguous and that no index is negative, and only then become loops over them vector instructions.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

import numpy as np
from numba import types
from numba.extending import intrinsic

from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_internals import ir, make_array, populate_array
from mambrane.kernels.vectors import LINE_BYTES

BLOCK_CHANNELS = 1024
"""Channels of a block: a row of it fills a page of memory (4 KiB), so that reading ahead works."""


def count_tasks(batch_size: int, num_channels: int, block_channels: int = BLOCK_CHANNELS) -> int:
    """Return the number of tasks: sequences times blocks."""
    return batch_size * -(-num_channels // block_channels)


@kernel()
def block_range(task, num_channels, block_channels=BLOCK_CHANNELS):
    """Return the sequence of a task, its block, and the first channel of it and of the next."""
    num_blocks = -(-num_channels // block_channels)
    b, block = task // num_blocks, task % num_blocks
    return b, block, block * block_channels, min((block + 1) * block_channels, num_channels)


@kernel()
def block_width(num_channels):
    """Return the channels of the widest block."""
    return min(num_channels, BLOCK_CHANNELS)


@intrinsic
def scratch(typing_context, num_rows, width, prototype):
    """Return rows of numbers of the type of an array, with anything in them, on the stack.

    To be called outside of loops: the memory goes when the kernel returns.
    """
    array = types.Array(prototype.dtype, 2, "C")

    def code(context, builder, signature, arguments):
        rows, width, _ = arguments
        number = context.get_data_type(prototype.dtype)
        itemsize = ir.Constant(width.type, context.get_abi_sizeof(number))
        memory = builder.alloca(number, size=builder.mul(rows, width))
        memory.align = LINE_BYTES
        result = make_array(array)(context, builder)
        strides = [builder.mul(width, itemsize), itemsize]
        populate_array(result, memory, [rows, width], strides, itemsize, meminfo=None)
        return result._getvalue()

    return array(types.intp, types.intp, prototype), code


@kernel(makes_arrays=True)
def zeros_in_lines(num_rows, width, prototype):
    """Return rows of zeros of the type of an array that begin with a line of the cache.

    A vector as wide as a line that stands across two of them is read and written twice.
    """
    spare = LINE_BYTES // prototype.itemsize
    memory_W = np.zeros(num_rows * width + spare, prototype.dtype)
    skipped = -memory_W.ctypes.data % LINE_BYTES // prototype.itemsize
    return memory_W[skipped : skipped + num_rows * width].reshape(num_rows, width)


@kernel()
def copy(source_W, target_W):
    """Copy one row."""
    for w in range(target_W.size):
        target_W[w] = source_W[w]


@kernel()
def clear(target_W):
    """Set one row to zero."""
    for w in range(target_W.size):
        target_W[w] = 0


@kernel()
def add(term_W, sum_W):
    """Add one row to another."""
    for w in range(sum_W.size):
        sum_W[w] += term_W[w]
