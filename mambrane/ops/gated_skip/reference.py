"""Reference of the skip and the gate of Mamba.

    out = (y + D x) silu(z)        silu(z) = z / (1 + exp(-z))

Source: Gu & Dao 2023, Mamba, arXiv 2312.00752, section 3.4 and figure 3.
"""

import torch
from torch import Tensor
from torch.nn import functional


def gated_skip_reference(y_BTE: Tensor, x_BTE: Tensor, skip_E: Tensor, gate_BTE: Tensor) -> Tensor:
    """Return the gated output [B, T, E]; computed in float32 at least."""
    inner = torch.promote_types(y_BTE.dtype, torch.float32)
    y, x, skip, gate = (each.to(inner) for each in (y_BTE, x_BTE, skip_E, gate_BTE))
    return ((y + skip * x) * functional.silu(gate)).to(y_BTE.dtype)
