"""Head and loss on the CPU: the chunks of `chunked.py`, and what is done with their logits in one pass each way.

    lse = m + log sum exp(l - m),  m = max l        nats = lse - l[target]        dl = g (exp(l - lse) - onehot(target))

PyTorch takes some eight passes, and its exponential as long as the product. A task is a block of tokens; each token is
worked on alone.
"""

# ruff: noqa: ANN001, ANN202 -- Numba finds the types of kernels

import math
from typing import Any

import torch
from torch import Tensor

from mambrane.core.shapes import IGNORED_TARGET
from mambrane.kernels.arguments import arrays, count_blocks
from mambrane.kernels.blocks import clear, scratch
from mambrane.kernels.compiled import kernel
from mambrane.kernels.numba_math import exp
from mambrane.kernels.operator import operator
from mambrane.kernels.threads import parallel_for
from mambrane.kernels.vectors import WIDE_LANES, load_strip, store_strip, where_gt, zeros
from mambrane.ops.linear_cross_entropy.chunked import backward_in_chunks, forward_in_chunks

BLOCK_TOKENS = 16


def linear_cross_entropy_numba(x_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the nats of each target [B, T]."""
    return _LinearCrossEntropy.apply(x_BTD, weight_VD, targets_BT)


class _LinearCrossEntropy(torch.autograd.Function):
    """The loop over chunks, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor) -> Tensor:  # noqa: ANN401 -- torch's
        return forward_in_chunks(ctx, x_BTD, weight_VD, targets_BT, _nats_of)

    @staticmethod
    def backward(ctx: Any, gradient_BT: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401 -- torch's own
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError(
                "create_graph=True asks for gradients of the gradients of linear_cross_entropy, which has none; "
                'backend="reference" has'
            )
        return backward_in_chunks(ctx, gradient_BT, lambda *given: _gradient_of(*given[:4]))


@operator("nats_of_logits")
def _nats_of(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    nats_C, lse_C = (logits_CV.new_empty(targets_C.shape) for _ in range(2))
    wrong_1 = torch.full((1,), -1)
    run = (
        _forward,
        count_blocks(targets_C.shape[0], BLOCK_TOKENS),
        *arrays(logits_CV, targets_C, nats_C, lse_C, wrong_1),
    )
    parallel_for(*run, work_ns=0.5 * logits_CV.numel())
    if (row := int(wrong_1)) >= 0:
        raise IndexError(
            f"target {int(targets_C[row])} is out of bounds of a vocabulary of {logits_CV.shape[1]} tokens"
        )
    return nats_C, lse_C


@_nats_of.register_shapes
def _shapes_of_nats(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    return logits_CV.new_empty(targets_C.shape), logits_CV.new_empty(targets_C.shape)


@operator("gradient_of_logits")
def _gradient_of(logits_CV: Tensor, lse_C: Tensor, targets_C: Tensor, gradient_C: Tensor) -> Tensor:
    dlogits_CV = torch.empty_like(logits_CV)
    run = (
        _backward,
        count_blocks(targets_C.shape[0], BLOCK_TOKENS),
        *arrays(logits_CV, lse_C, targets_C, gradient_C, dlogits_CV),
    )
    parallel_for(*run, work_ns=0.5 * logits_CV.numel())
    return dlogits_CV


@_gradient_of.register_shapes
def _shape_of_gradient(logits_CV: Tensor, lse_C: Tensor, targets_C: Tensor, gradient_C: Tensor) -> Tensor:
    return torch.empty_like(logits_CV)


@kernel()
def _forward(first, last, logits_CV, targets_C, nats_C, lse_C, wrong_1):
    """Do the blocks of tokens first, ..., last - 1; the number of a token whose target is none of the V is noted."""
    largest_1L = scratch(1, WIDE_LANES, logits_CV)
    for c in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, logits_CV.shape[0])):
        target, largest = targets_C[c], _largest(logits_CV[c], largest_1L[0])
        lse = largest + math.log(_sum_of_exponentials(logits_CV[c], largest))
        lse_C[c] = lse
        if 0 <= target < logits_CV.shape[1]:
            nats_C[c] = lse - logits_CV[c, target]
        else:
            nats_C[c] = 0
            if target != IGNORED_TARGET:
                wrong_1[0] = c


@kernel()
def _largest(logits_V, largest_L):
    """Return the largest number; the compiler makes no vector instructions of such a loop by itself."""
    zero_L, whole = zeros(logits_V, WIDE_LANES), logits_V.size // WIDE_LANES * WIDE_LANES
    largest = logits_V[0]
    if whole > 0:
        running_L = load_strip(zero_L, logits_V, 0)
        for start in range(WIDE_LANES, whole, WIDE_LANES):
            logits_L = load_strip(zero_L, logits_V, start)
            running_L = where_gt(logits_L, running_L, logits_L, running_L)
        store_strip(running_L, largest_L, 0)
        for lane in range(WIDE_LANES):
            largest = max(largest, largest_L[lane])
    for v in range(whole, logits_V.size):
        largest = max(largest, logits_V[v])
    return largest


@kernel(reorders_sums=True)
def _sum_of_exponentials(logits_V, largest):
    total = logits_V.dtype.type(0)
    for v in range(logits_V.size):
        total += exp(logits_V[v] - largest)
    return total


@kernel()
def _backward(first, last, logits_CV, lse_C, targets_C, gradient_C, dlogits_CV):
    """Go back through the blocks of tokens first, ..., last - 1."""
    one = logits_CV.dtype.type(1)
    for c in range(first * BLOCK_TOKENS, min(last * BLOCK_TOKENS, logits_CV.shape[0])):
        target, gradient = targets_C[c], gradient_C[c]
        if target == IGNORED_TARGET:
            clear(dlogits_CV[c])
        else:
            _differentiate(logits_CV[c], lse_C[c], gradient, dlogits_CV[c])
            dlogits_CV[c, target] = gradient * (exp(logits_CV[c, target] - lse_C[c]) - one)


@kernel()
def _differentiate(logits_V, lse, gradient, dlogits_V):
    for v in range(logits_V.size):
        dlogits_V[v] = gradient * exp(logits_V[v] - lse)
