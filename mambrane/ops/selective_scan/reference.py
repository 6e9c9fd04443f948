"""Selective scan (S6), in plain PyTorch: the definition that faster backends must match.

    h[t] = exp(delta[t] * A) * h[t-1] + (delta[t] * x[t]) B[t]
    y[t] = C[t] . h[t]

for each of E channels with its own state h of size N; delta is the step size (> 0 after softplus), A < 0. The input
is discretised by Euler's rule, as in the published code. The skip D * x and the gate are outside.
Source: Gu, Dao, "Mamba: linear-time sequence modeling with selective state spaces", arXiv 2312.00752, section 3.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets


def selective_scan_reference(
    x_BTE: Float[Tensor, "B T E"],
    delta_BTE: Float[Tensor, "B T E"],
    A_EN: Float[Tensor, "E N"],
    B_BTN: Float[Tensor, "B T N"],
    C_BTN: Float[Tensor, "B T N"],
    *,
    state_BEN: Float[Tensor, "B E N"] | None = None,
    resets_BT: Resets | None = None,
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E N"]]:
    """Return y and the last state; arguments as in `mambrane.ops.selective_scan.selective_scan`."""
    dtype = x_BTE.dtype
    inner = torch.promote_types(dtype, torch.float32)
    x_BTE, delta_BTE, A_EN, B_BTN, C_BTN = (each.to(inner) for each in (x_BTE, delta_BTE, A_EN, B_BTN, C_BTN))
    h_BEN = x_BTE.new_zeros(x_BTE.shape[0], *A_EN.shape) if state_BEN is None else state_BEN.to(inner)
    y = []
    for t in range(x_BTE.shape[1]):
        if resets_BT is not None:
            h_BEN = h_BEN.masked_fill(resets_BT[:, t, None, None], 0.0)
        decay_BEN = torch.exp(delta_BTE[:, t, :, None] * A_EN)
        drive_BEN = (delta_BTE[:, t] * x_BTE[:, t])[..., None] * B_BTN[:, t, None, :]
        h_BEN = decay_BEN * h_BEN + drive_BEN
        y.append((h_BEN * C_BTN[:, t, None, :]).sum(dim=-1))
    return torch.stack(y, dim=1).to(dtype), h_BEN
