"""Lists of tensors inside kernels: one call for all weights of a model, each found by its address.

A kernel that takes arrays is called once for each weight, or compiled anew for each number of them; unpacking an array
costs as much as the work on a small weight. This one call takes numbers: where each tensor begins, and how long it is.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- Numba finds the types of kernels

import functools
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from numba import carray, types
from numba.extending import intrinsic
from torch import Tensor

from mambrane.kernels.arguments import are_alike
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
    first = lists[0][0]
    shapes = [*map(Tensor.size, lists[0])]
    for tensors in lists:
        if not first.is_cpu or [*map(Tensor.size, tensors)] != shapes or not are_alike(tensors, first):
            _refuse(tensors, shapes, first.dtype)
    return Addresses(
        np.array([[*map(Tensor.data_ptr, tensors)] for tensors in lists], dtype=np.uint64),
        np.array([*map(Tensor.numel, lists[0])]),
        _prototype_of(first.dtype),
    )


def _refuse(tensors: Sequence[Tensor], shapes: Sequence[torch.Size], dtype: torch.dtype) -> NoReturn:
    if [tensor.shape for tensor in tensors] != shapes or any(tensor.dtype is not dtype for tensor in tensors):
        raise ValueError(f"lists of tensors that differ in shapes or types; wanted {shapes} in {dtype}")
    raise ValueError("a tensor that is not contiguous on the CPU; wanted all of them")


@functools.cache
def _prototype_of(dtype: torch.dtype) -> np.ndarray:
    return torch.empty(0, dtype=dtype).numpy()


@kernel(makes_arrays=True)
def array_at(start, shape, prototype):
    """Return the tensor at an address as an array; its shape is a tuple."""
    return carray(_pointer(start), shape, prototype.dtype)


@intrinsic
def _pointer(typing_context, address):
    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.uint64), code
