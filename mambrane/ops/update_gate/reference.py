"""The gate of an optimizer's update, and the usage it rests on, in plain PyTorch: the definition for faster backends.

    note_usage      u <- (1 - rate) u + rate g^2
    hold_back       w <- w - s (w - b)      where |w - a| > |b - a|, else w stays as it is

g gradient, u usage; w the weight after the update and b before it, a its anchor, s the share that is held back. What
leads away from the anchor is found by the sign of (w - b) ((w - b) + 2 (b - a)), the difference of the two squares.

Weights and gradients are lists of tensors, one for each parameter. What is kept of the weights is laid end to end in
vectors [W]; a parameter's part begins at its start. The first argument is changed in place.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def note_usage_reference(usage_W: Tensor, gradients: Sequence[Tensor], starts: Sequence[int], *, rate: float) -> None:
    """Move usage; arguments as in `mambrane.ops.update_gate.note_usage_`."""
    usages = _parts(usage_W, gradients, starts)
    torch._foreach_mul_(usages, 1.0 - rate)
    torch._foreach_addcmul_(usages, list(gradients), list(gradients), value=rate)


@torch.no_grad()
def hold_back_reference(
    weights: Sequence[Tensor], before: Sequence[Tensor], anchor_W: Tensor, share_W: Tensor, starts: Sequence[int]
) -> None:
    """Move weights back; arguments as in `mambrane.ops.update_gate.hold_back_`."""
    anchors, shares = _parts(anchor_W, weights, starts), _parts(share_W, weights, starts)
    updates, drifts = torch._foreach_sub(list(weights), list(before)), torch._foreach_sub(list(before), anchors)
    # 1 where the update leads away, else 0; a factor, so that a share of 0 changes no bit of a weight.
    is_away = torch._foreach_add(updates, drifts, alpha=2.0)
    torch._foreach_mul_(is_away, updates)
    torch._foreach_sign_(is_away)
    torch._foreach_clamp_min_(is_away, 0.0)
    torch._foreach_mul_(is_away, shares)
    torch._foreach_addcmul_(list(weights), is_away, updates, value=-1.0)


def _parts(vector_W: Tensor, like: Sequence[Tensor], starts: Sequence[int]) -> list[Tensor]:
    """Return the part of each tensor, in its shape, sharing memory with the vector."""
    return [vector_W[start : start + each.numel()].view(each.shape) for each, start in zip(like, starts, strict=True)]
