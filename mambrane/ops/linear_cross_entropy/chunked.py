"""Head and loss a chunk of tokens at a time: the logits of a chunk exist while it is worked on, and no longer.

    forward     l = W x,  lse = log sum exp l,  nats = lse - l[target]        kept: x and lse
    backward    l = W x anew,  dl = g (exp(l - lse) - onehot(target)),  dx = W^T dl,  dW += dl x^T

The second product with W costs a third more arithmetic in this part of the model and saves B x T x V numbers.
Source: Wijmans et al. 2024, Cut Your Losses in Large-Vocabulary Language Models, arXiv 2411.09009, section 3.
"""

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
    """The loop over chunks, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor) -> Tensor:  # noqa: ANN401 -- torch's
        x_ND, targets_N = x_BTD.flatten(0, 1), targets_BT.flatten()
        counts_N, safe_targets_N = _counted(targets_N)
        lse, nats = [], []
        for chunk in _chunks(x_ND, weight_VD):
            logits_CV = _logits(x_ND[chunk], weight_VD)
            lse.append(logits_CV.logsumexp(dim=1))
            right_C = logits_CV.gather(1, safe_targets_N[chunk, None])[:, 0]
            nats.append((lse[-1] - right_C).where(counts_N[chunk], 0.0))
        ctx.save_for_backward(x_BTD, weight_VD, targets_BT, torch.cat(lse))
        return torch.cat(nats).view_as(targets_BT)

    @staticmethod
    def backward(ctx: Any, gradient_BT: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401
        x_BTD, weight_VD, targets_BT, lse_N = ctx.saved_tensors
        x_ND, targets_N = x_BTD.flatten(0, 1), targets_BT.flatten()
        counts_N, safe_targets_N = _counted(targets_N)
        gradient_N = gradient_BT.flatten().where(counts_N, 0.0)
        dx, dweight_VD = [], torch.zeros_like(weight_VD, dtype=lse_N.dtype)
        for chunk in _chunks(x_ND, weight_VD):
            dlogits_CV = _logits(x_ND[chunk], weight_VD).sub_(lse_N[chunk, None]).exp_()
            right_C1 = dlogits_CV.gather(1, safe_targets_N[chunk, None])
            dlogits_CV.scatter_(1, safe_targets_N[chunk, None], right_C1 - 1.0)
            dlogits_CV = dlogits_CV.mul_(gradient_N[chunk, None]).to(weight_VD.dtype)
            dx.append(linear(dlogits_CV, weight_VD.T))
            dweight_VD += sum_of_outer_products(dlogits_CV, x_ND[chunk])
        return torch.cat(dx).view_as(x_BTD), dweight_VD.to(weight_VD.dtype), None


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
