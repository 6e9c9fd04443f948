"""Head and loss a chunk of tokens at a time: the logits of a chunk exist while it is worked on, and no longer.

    forward     l = W x,  lse = log sum exp l,  nats = lse - l[target]        kept: x and lse
    backward    l = W x anew,  dl = g (exp(l - lse) - onehot(target)),  dx = W^T dl,  dW += dl x^T

The second product with W costs a third more arithmetic in this part of the model and saves B x T x V numbers. Logits
that make a single chunk are kept in its place: the backward pass, which begins here, would make them again at once.
Source: Wijmans et al. 2024, Cut Your Losses in Large-Vocabulary Language Models, arXiv 2411.09009, section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mambrane.core.shapes import IGNORED_TARGET
from mambrane.ops.linear import linear
from mambrane.ops.sum_of_outer_products import sum_of_outer_products

CHUNK_LOGITS = 2**22
"""Logits of a chunk: 16 MiB in float32, so that it stays near the processor."""
GPU_CHUNK_LOGITS = 2**25
"""The same elsewhere: a GPU is filled by a large product and gains nothing from a small one; 128 MiB in float32."""


def linear_cross_entropy_chunked(x_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the nats of each target [B, T]."""
    return _LinearCrossEntropy.apply(x_BTD, weight_VD, targets_BT)


class _LinearCrossEntropy(torch.autograd.Function):
    """The loop over chunks, forward and backward, in plain PyTorch."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor) -> Tensor:  # noqa: ANN401 -- torch's
        return forward_in_chunks(ctx, x_BTD, weight_VD, targets_BT, _nats_of)

    @staticmethod
    def backward(ctx: Any, gradient_BT: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401 -- torch's own
        return backward_in_chunks(ctx, gradient_BT, _gradient_of)


def forward_in_chunks(
    ctx: Any,  # noqa: ANN401 -- torch's own
    x_BTD: Tensor,
    weight_VD: Tensor,
    targets_BT: Tensor,
    nats_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    """Return the nats of each target [B, T].

    Args:
        ctx: what the backward pass needs is kept in it.
        x_BTD: what the head reads.
        weight_VD: its weight.
        targets_BT: the right tokens.
        nats_of: of the logits [C, V] and the targets [C] of a chunk, returns nats and log sum exp, [C] each.
    """
    x_ND, targets_N = x_BTD.flatten(0, 1), targets_BT.flatten()
    lse, nats, chunks, logits = [], [], _chunks(x_ND, weight_VD), None
    for chunk in chunks:
        logits = _logits(x_ND[chunk], weight_VD)
        nats_C, lse_C = nats_of(logits, targets_N[chunk])
        nats.append(nats_C)
        lse.append(lse_C)
    ctx.save_for_backward(x_BTD, weight_VD, targets_BT, _joined(lse), logits if len(chunks) == 1 else None)
    return _joined(nats).view_as(targets_BT)


def backward_in_chunks(
    ctx: Any,  # noqa: ANN401 -- torch's own
    gradient_BT: Tensor,
    gradient_of: Callable[..., Tensor],
) -> tuple[Tensor, Tensor, None]:
    """Return the gradients of x and of the weight.

    Args:
        ctx: what `forward_in_chunks` has kept.
        gradient_BT: gradient of the nats.
        gradient_of: of the logits [C, V], log sum exp, targets and gradients of a chunk, [C] each, and of whether the
            logits may be written over, returns the gradient of the logits.
    """
    x_BTD, weight_VD, targets_BT, lse_N, kept_NV = ctx.saved_tensors
    x_ND, targets_N, gradient_N = x_BTD.flatten(0, 1), targets_BT.flatten(), gradient_BT.flatten()
    dx, dweight_VD = [], None
    for chunk in _chunks(x_ND, weight_VD):
        logits_CV = _logits(x_ND[chunk], weight_VD) if kept_NV is None else kept_NV
        dlogits_CV = gradient_of(logits_CV, lse_N[chunk], targets_N[chunk], gradient_N[chunk], kept_NV is None)
        del logits_CV
        dlogits_CV = dlogits_CV.to(weight_VD.dtype)
        dx.append(linear(dlogits_CV, weight_VD.T))
        added_VD = sum_of_outer_products(dlogits_CV, x_ND[chunk]).to(lse_N.dtype)
        dweight_VD = added_VD if dweight_VD is None else dweight_VD.add_(added_VD)
    assert dweight_VD is not None, "there is a chunk, of no tokens where the batch has none"
    return _joined(dx).view_as(x_BTD), dweight_VD.to(weight_VD.dtype), None


def _nats_of(logits_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    counts_C, safe_targets_C = _counted(targets_C)
    lse_C = logits_CV.logsumexp(dim=1)
    right_C = logits_CV.gather(1, safe_targets_C[:, None])[:, 0]
    return (lse_C - right_C).where(counts_C, 0.0), lse_C


def _gradient_of(
    logits_CV: Tensor, lse_C: Tensor, targets_C: Tensor, gradient_C: Tensor, may_overwrite: bool
) -> Tensor:
    counts_C, safe_targets_C = _counted(targets_C)
    dlogits_CV = logits_CV.sub_(lse_C[:, None]) if may_overwrite else logits_CV - lse_C[:, None]
    dlogits_CV = dlogits_CV.exp_()
    right_C1 = dlogits_CV.gather(1, safe_targets_C[:, None])
    dlogits_CV.scatter_(1, safe_targets_C[:, None], right_C1 - 1.0)
    return dlogits_CV.mul_(gradient_C.where(counts_C, 0.0)[:, None])


def _counted(targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return where targets count, and targets that can be looked up everywhere."""
    counts_N = targets_N != IGNORED_TARGET
    return counts_N, targets_N.where(counts_N, 0)


def _chunks(x_ND: Tensor, weight_VD: Tensor) -> list[slice]:
    logits = CHUNK_LOGITS if x_ND.device.type == "cpu" else GPU_CHUNK_LOGITS
    rows = max(1, logits // weight_VD.shape[0])
    # A batch of none is one chunk of none.
    return [slice(start, start + rows) for start in range(0, max(1, x_ND.shape[0]), rows)]


def _logits(x_CD: Tensor, weight_VD: Tensor) -> Tensor:
    logits_CV = linear(x_CD, weight_VD)
    return logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
