"""Reference of the gate and the norm of Mamba 2.

    u = y silu(z)        out = u / sqrt(mean(u^2) + eps) * weight        the mean over each of `groups` parts

silu(z) = z / (1 + exp(-z)).
Source: Dao & Gu 2024, arXiv 2405.21060, section 7 and figure 6; RMSNormGated of their code, `norm_before_gate=False`.
"""

import torch
from torch import Tensor
from torch.nn import functional


def gated_norm_reference(y_BTE: Tensor, gate_BTE: Tensor, weight_E: Tensor, *, eps: float, groups: int) -> Tensor:
    """Return the normalised numbers [B, T, E]; computed in float32 at least."""
    inner = torch.promote_types(y_BTE.dtype, torch.float32)
    y, gate, weight = (each.to(inner) for each in (y_BTE, gate_BTE, weight_E))
    u = (y * functional.silu(gate)).unflatten(-1, (groups, -1))
    scale = (u.square().mean(dim=-1, keepdim=True) + eps).rsqrt()
    return ((u * scale).flatten(-2) * weight).to(y_BTE.dtype)
