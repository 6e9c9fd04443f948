"""Reference of the head and its loss.

    nats[b, t] = - log softmax(W x[b, t])[target[b, t]]        0 where target[b, t] is IGNORED_TARGET

It keeps the logits of every token, B x T x V numbers, several times over.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mambrane.core.shapes import IGNORED_TARGET


def linear_cross_entropy_reference(x_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the nats of each target [B, T]."""
    return nats_of_logits(functional.linear(x_BTD, weight_VD), targets_BT)


def nats_of_logits(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the nats of each target [B, T], float32 or float64, 0 where none counts."""
    logits_BTV = logits_BTV.to(torch.promote_types(logits_BTV.dtype, torch.float32))
    nats_N = functional.cross_entropy(
        logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED_TARGET, reduction="none"
    )
    return nats_N.view_as(targets_BT)
