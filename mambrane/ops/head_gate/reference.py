"""Reference of the gates of the heads of a path.

g[t,h] = 1 / (1 + exp(-(w_h . u[t,h] + b_h)))        out = g s        in the slice of head h
"""

import torch
from torch import Tensor


def head_gate_reference(path_BTD: Tensor, u_BTD: Tensor, weight_HP: Tensor, bias_H: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gated path [B, T, D] and the gate [B, T, H]; computed in float32 at least."""
    inner, outer = (torch.promote_types(path_BTD.dtype, other) for other in (torch.float32, weight_HP.dtype))
    scores_BTH = (weight_HP.to(inner) * u_BTD.unflatten(-1, weight_HP.shape)).sum(dim=-1) + bias_H
    gate_BTH = torch.sigmoid(scores_BTH)
    gated_BTD = (gate_BTH.unsqueeze(-1) * path_BTD.unflatten(-1, weight_HP.shape)).flatten(-2)
    return gated_BTD.to(outer), gate_BTH.to(outer)
