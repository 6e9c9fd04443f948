"""The gate of an update on the CPU: one pass over every weight, where plain PyTorch takes eight. See `reference.py`.

A task is one weight tensor. No product is fused with a sum, so a thread more or a longer vector shows in no bit.
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

from collections.abc import Sequence

from torch import Tensor

from mambrane.ops.addresses import addresses_of, array_at
from mambrane.ops.compiled import kernel
from mambrane.ops.threads import share_out


def note_usage_numba(usages: Sequence[Tensor], gradients: Sequence[Tensor], *, rate: float) -> None:
    """Move usages; arguments as in `mambrane.ops.update_gate.note_usage_`."""
    starts_LN, sizes_N, like = addresses_of(usages, gradients)
    kept, added = like.dtype.type(1.0 - rate), like.dtype.type(rate)
    share_out(_note_usage, len(sizes_N), starts_LN, sizes_N, like, kept, added, work_ns=0.15 * sizes_N.sum())


def hold_back_numba(
    weights: Sequence[Tensor], before: Sequence[Tensor], anchors: Sequence[Tensor], shares: Sequence[Tensor]
) -> None:
    """Move weights back; arguments as in `mambrane.ops.update_gate.hold_back_`."""
    starts_LN, sizes_N, like = addresses_of(weights, before, anchors, shares)
    share_out(_hold_back, len(sizes_N), starts_LN, sizes_N, like, work_ns=0.3 * sizes_N.sum())


@kernel()
def _note_usage(first, last, starts_LN, sizes_N, like, kept, added):
    """Run tasks first, ..., last - 1."""
    for n in range(first, last):
        shape = (sizes_N[n],)
        usage_W, gradient_W = array_at(starts_LN[0, n], shape, like), array_at(starts_LN[1, n], shape, like)
        _note_usage_of(usage_W, gradient_W, kept, added)


@kernel(fuses=False)
def _note_usage_of(usage_W, gradient_W, kept, added):
    for w in range(usage_W.size):
        usage_W[w] = kept * usage_W[w] + added * (gradient_W[w] * gradient_W[w])


@kernel()
def _hold_back(first, last, starts_LN, sizes_N, like):
    """Run tasks first, ..., last - 1."""
    for n in range(first, last):
        shape = (sizes_N[n],)
        weight_W, before_W = array_at(starts_LN[0, n], shape, like), array_at(starts_LN[1, n], shape, like)
        anchor_W, share_W = array_at(starts_LN[2, n], shape, like), array_at(starts_LN[3, n], shape, like)
        _hold_back_of(weight_W, before_W, anchor_W, share_W)


@kernel(fuses=False)
def _hold_back_of(weight_W, before_W, anchor_W, share_W):
    zero = weight_W.dtype.type(0)
    for w in range(weight_W.size):
        update, drift = weight_W[w] - before_W[w], before_W[w] - anchor_W[w]
        held_back = share_W[w] if (update + drift + drift) * update > zero else zero
        weight_W[w] -= held_back * update
