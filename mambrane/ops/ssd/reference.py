"""State-space duality (SSD), in plain PyTorch: the definition that faster backends must match.

    h[t] = exp(delta[t] * A) * h[t-1] + (delta[t] * x[t]) B[t]^T
    y[t] = h[t] C[t] + D x[t]

for each of H heads with P channels and a state h of shape P x N. A < 0 is one number for each head, so a head forgets
all its states alike; delta is one step size for each head (> 0 after softplus). B and C are shared by the heads (one
group). D, one number for each head, is zero where not given; the gate is outside.
Source: Dao, Gu, "Transformers are SSMs", arXiv 2405.21060, sections 2.4 and 6.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets


def ssd_reference(
    x_BTHP: Float[Tensor, "B T H P"],
    delta_BTH: Float[Tensor, "B T H"],
    A_H: Float[Tensor, " H"],
    B_BTN: Float[Tensor, "B T N"],
    C_BTN: Float[Tensor, "B T N"],
    *,
    skip_H: Float[Tensor, " H"] | None = None,
    state_BHPN: Float[Tensor, "B H P N"] | None = None,
    resets_BT: Resets | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H P N"]]:
    """Return y and the last state; arguments as in `mambrane.ops.ssd.ssd`."""
    dtype = x_BTHP.dtype
    inner = torch.promote_types(dtype, torch.float32)
    x_BTHP, delta_BTH, A_H, B_BTN, C_BTN = (each.to(inner) for each in (x_BTHP, delta_BTH, A_H, B_BTN, C_BTN))
    batch, tokens, heads, channels = x_BTHP.shape
    h_BHPN = x_BTHP.new_zeros(batch, heads, channels, B_BTN.shape[-1]) if state_BHPN is None else state_BHPN.to(inner)
    y = []
    for t in range(tokens):
        if resets_BT is not None:
            h_BHPN = h_BHPN.masked_fill(resets_BT[:, t, None, None, None], 0.0)
        decay_BH = torch.exp(delta_BTH[:, t] * A_H)
        drive_BHP = delta_BTH[:, t, :, None] * x_BTHP[:, t]
        h_BHPN = decay_BH[..., None, None] * h_BHPN + drive_BHP[..., None] * B_BTN[:, t, None, None, :]
        y.append((h_BHPN * C_BTN[:, t, None, None, :]).sum(dim=-1))
    y_BTHP = torch.stack(y, dim=1)
    return with_skip(y_BTHP, x_BTHP, skip_H).to(dtype), h_BHPN


def with_skip(y_BTHP: Tensor, x_BTHP: Tensor, skip_H: Tensor | None) -> Tensor:
    """Return y + D x in the type of y; y where there is no D."""
    return y_BTHP if skip_H is None else y_BTHP + skip_H.to(y_BTHP)[:, None] * x_BTHP.to(y_BTHP)
