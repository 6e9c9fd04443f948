"""What kernels do with their arguments: choose the type to compute in, hand tensors to Numba, add up rows."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 for float64, else float32."""
    return torch.promote_types(x.dtype, torch.float32)


def as_tensor_like(number: float | Tensor, x: Tensor) -> Tensor:
    """Return a number as a tensor of the type and device of x, written there: no copy that a GPU would wait for."""
    if isinstance(number, Tensor):
        return number.to(x)
    return torch.full((), number, dtype=x.dtype, device=x.device)


def count_blocks(size: int, block: int) -> int:
    """Return how many blocks hold this many."""
    return -(-size // block)


def no_resets(x: Tensor) -> Tensor:
    """Return False for every token of x [B, T, ...]: no document starts."""
    return torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)


def arrays(*arguments: Any) -> list[Any]:  # noqa: ANN401 -- tensors and numbers
    """Return the tensors as arrays that share their memory, or a copy's where they are not contiguous; numbers as is.

    What a kernel writes must be contiguous: empty_like and zeros_like of an argument are, if the argument is.
    """
    return [_array_of(each.contiguous()) if isinstance(each, Tensor) else each for each in arguments]


_PLAIN = frozenset({Tensor, nn.Parameter})
_kind_of = attrgetter("dtype", "device", "layout", "is_nested")


def are_alike(tensors: Sequence[Tensor], like: Tensor) -> bool:
    """Return whether all are plain contiguous tensors of the type and on the device of another.

    A quick look for lists of many tensors, in loops that are not Python's own; it does not say which one differs.
    """
    return (
        _PLAIN.issuperset(map(type, tensors))
        and {_kind_of(like)}.issuperset(map(_kind_of, tensors))
        and all(map(Tensor.is_contiguous, tensors))
    )


def leave_memory_free() -> None:
    """Let the memory of every argument be given back once its kernel has run, as weights in pieces are.

    torch never frees what `numpy()` has shown by shrinking its storage. DLPack makes no such bond, and takes some
    15 microseconds more for each argument.
    """
    global _array_of
    _array_of = _array_without_bond


def _array_with_bond(tensor: Tensor) -> np.ndarray:
    return tensor.numpy(force=True)


def _array_without_bond(tensor: Tensor) -> np.ndarray:
    return np.from_dlpack(tensor.detach())


_array_of = _array_with_bond


def ordered_sum(rows_QN: Tensor) -> Tensor:
    """Return the sum over rows, added in the same order for any number of threads."""
    return torch.from_numpy(rows_QN.detach().numpy().sum(axis=0))
