"""Reference of the read-out of the neurons of a hybrid block.

out = a z q + b r        z = (z1, z2)        r = (r1, z2)        q on its first R channels
"""

import torch
from torch import Tensor


def spike_read_out_reference(
    q_BTE: Tensor,
    spikes_BTS: Tensor | None,
    code_BTS: Tensor | None,
    second_BTP: Tensor,
    gate_R: Tensor,
    out_R: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return out and r, [B, T, R] each; computed in float32 at least."""
    z_BTR, r_BTR = second_BTP, second_BTP
    if spikes_BTS is not None and code_BTS is not None:
        z_BTR, r_BTR = (torch.cat([first, second_BTP], dim=-1) for first in (spikes_BTS, code_BTS))
    inner = torch.promote_types(q_BTE.dtype, torch.float32)
    gate_R, out_R = gate_R.to(inner), out_R.to(inner)
    out_BTR = gate_R * z_BTR * q_BTE[..., : gate_R.shape[0]] + out_R * r_BTR
    return out_BTR.to(q_BTE.dtype), r_BTR.to(q_BTE.dtype)
