"""Lists of tensors inside kernels: one call for all weights of a model, each found by its address.

A kernel that takes arrays is called once for each weight, or compiled anew for each number of them; unpacking an array
costs as much as the work on a small weight. This one call takes numbers: where each tensor begins, and how long it is.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import carray, types
from numba.extending import intrinsic
from torch import Tensor

from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_internals import ir


class Addresses(NamedTuple):
    """Where the tensors of several lists are; good for as long as the lists hold them."""

    addresses_LN: np.ndarray
    """Address of the first number of each tensor, a row for each list."""
    sizes_N: np.ndarray
    """How many numbers a tensor has, the same in all lists."""
    prototype: np.ndarray
    """An empty array of the type of the numbers."""


def addresses_of(*lists: Sequence[Tensor]) -> Addresses:
    """Return where the tensors are; at least one in each list.

    Raises:
        ValueError: lists that differ in shapes or types, or tensors that are not contiguous on the CPU. A kernel would
            read and write beside them.
    """
    shapes, dtype = [tensor.shape for tensor in lists[0]], lists[0][0].dtype
    for tensors in lists:
        if [tensor.shape for tensor in tensors] != shapes or any(tensor.dtype is not dtype for tensor in tensors):
            raise ValueError(f"lists of tensors that differ in shapes or types; wanted {shapes} in {dtype}")
        if not all(tensor.is_contiguous() and tensor.is_cpu for tensor in tensors):
            raise ValueError("a tensor that is not contiguous on the CPU; wanted all of them")
    return Addresses(
        np.array([[tensor.data_ptr() for tensor in tensors] for tensors in lists], dtype=np.uint64),
        np.array([shape.numel() for shape in shapes]),
        lists[0][0].detach().flatten()[:0].numpy(),
    )


@kernel(makes_arrays=True)
def array_at(start, shape, prototype):
    """Return the tensor at an address as an array; its shape is a tuple."""
    return carray(_pointer(start), shape, prototype.dtype)


@intrinsic
def _pointer(typing_context, address):
    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.uint64), code
