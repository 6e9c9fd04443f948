"""The gate of an update on the CPU: one pass over every weight, where plain PyTorch takes eight. See `reference.py`.

A task is one parameter. No product is fused with a sum, so a thread more or a longer vector shows in no bit.
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mambrane.kernels.addresses import addresses_of, array_at
from mambrane.kernels.arguments import arrays
from mambrane.kernels.compiled import kernel
from mambrane.kernels.threads import parallel_for


def note_usage_numba(usage_W: Tensor, gradients: Sequence[Tensor], starts: Sequence[int], *, rate: float) -> None:
    """Move usage; arguments as in `mambrane.ops.update_gate.note_usage_`."""
    found = addresses_of(gradients)
    starts_N = _checked_starts(starts, found.sizes_N, found.prototype.dtype, usage_W)
    kept, added = found.prototype.dtype.type(1.0 - rate), found.prototype.dtype.type(rate)
    work_ns = 0.15 * found.sizes_N.sum()
    parallel_for(_note_usage, len(starts_N), *found, starts_N, *arrays(usage_W), kept, added, work_ns=work_ns)


def hold_back_numba(
    weights: Sequence[Tensor], before: Sequence[Tensor], anchor_W: Tensor, share_W: Tensor, starts: Sequence[int]
) -> None:
    """Move weights back; arguments as in `mambrane.ops.update_gate.hold_back_`."""
    found = addresses_of(weights, before)
    starts_N = _checked_starts(starts, found.sizes_N, found.prototype.dtype, anchor_W, share_W)
    work_ns = 0.3 * found.sizes_N.sum()
    parallel_for(_hold_back, len(starts_N), *found, starts_N, *arrays(anchor_W, share_W), work_ns=work_ns)


def _checked_starts(starts: Sequence[int], sizes_N: np.ndarray, dtype: np.dtype, *vectors: Tensor) -> np.ndarray:
    """Return the starts as an array; raises ValueError where a part would not lie in every vector."""
    starts_N = np.array(starts)
    for vector_W in vectors:
        if vector_W.numpy().dtype != dtype or not vector_W.is_contiguous():
            raise ValueError(f"a vector of {vector_W.dtype}; wanted a contiguous one of {dtype}")
        if starts_N.shape != sizes_N.shape or starts_N.min() < 0 or (starts_N + sizes_N).max() > vector_W.numel():
            raise ValueError(f"parts that do not lie in a vector of {vector_W.numel()}; wanted one for each tensor")
    return starts_N


@kernel(makes_arrays=True)
def _note_usage(first, last, addresses_LN, sizes_N, prototype, starts_N, usage_W, kept, added):
    """Run tasks first, ..., last - 1."""
    for n in range(first, last):
        start, size = starts_N[n], sizes_N[n]
        _note_usage_of(usage_W[start : start + size], array_at(addresses_LN[0, n], (size,), prototype), kept, added)


@kernel(fuses=False)
def _note_usage_of(usage_W, gradient_W, kept, added):
    for w in range(usage_W.size):
        usage_W[w] = kept * usage_W[w] + added * (gradient_W[w] * gradient_W[w])


@kernel(makes_arrays=True)
def _hold_back(first, last, addresses_LN, sizes_N, prototype, starts_N, anchor_W, share_W):
    """Run tasks first, ..., last - 1."""
    for n in range(first, last):
        start, size = starts_N[n], sizes_N[n]
        weight_W, before_W = (
            array_at(addresses_LN[0, n], (size,), prototype),
            array_at(addresses_LN[1, n], (size,), prototype),
        )
        _hold_back_of(weight_W, before_W, anchor_W[start : start + size], share_W[start : start + size])


@kernel(fuses=False)
def _hold_back_of(weight_W, before_W, anchor_W, share_W):
    zero = weight_W.dtype.type(0)
    for w in range(weight_W.size):
        update, drift = weight_W[w] - before_W[w], before_W[w] - anchor_W[w]
        held_back = share_W[w] if (update + drift + drift) * update > zero else zero
        weight_W[w] -= held_back * update
