"""Causal depthwise convolution with SiLU, in plain PyTorch: the definition that faster backends must match.

    u[t] = bias + sum over k < K of weight[k] * x[t - (K-1) + k]        y[t] = u[t] * sigmoid(u[t])

weight[K-1] meets the newest input, as in torch.nn.Conv1d with K-1 zeros of padding on the left. Inputs of another
document (before a reset) count as zero.
Source: Gu, Dao, arXiv 2312.00752, section 3.4; SiLU: Elfwing, Uchibe, Doya, arXiv 1702.03118.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets

Activation = Literal["silu"] | None


def causal_conv_reference(
    x_BTE: Float[Tensor, "B T E"],
    weight_EK: Float[Tensor, "E K"],
    bias_E: Float[Tensor, " E"],
    *,
    state_BEK: Float[Tensor, "B E K-1"] | None = None,
    resets_BT: Resets | None = None,
    activation: Activation = "silu",
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E K-1"]]:
    """Return y and the last K-1 inputs; arguments as in `mambrane.ops.causal_conv.causal_conv`."""
    dtype = x_BTE.dtype
    inner = torch.promote_types(dtype, torch.float32)
    x_BTE, weight_EK, bias_E = (each.to(inner) for each in (x_BTE, weight_EK, bias_E))
    (batch, tokens, channels), taps = x_BTE.shape, weight_EK.shape[1]
    past_BKE = x_BTE.new_zeros(batch, taps - 1, channels) if state_BEK is None else state_BEK.to(inner).transpose(1, 2)
    x_BPE = torch.cat([past_BKE, x_BTE], dim=1)
    document_BP = _document_numbers(x_BTE, resets_BT, taps)
    u_BTE = bias_E.expand_as(x_BTE)
    for k in range(taps):
        is_seen_BT = document_BP[:, k : k + tokens] == document_BP[:, taps - 1 :]
        u_BTE = u_BTE + weight_EK[:, k] * x_BPE[:, k : k + tokens].masked_fill(~is_seen_BT[..., None], 0.0)
    y_BTE = torch.nn.functional.silu(u_BTE) if activation == "silu" else u_BTE
    is_kept_BK = document_BP[:, tokens:] == document_BP[:, -1:]
    state_BKE = x_BPE[:, tokens:].masked_fill(~is_kept_BK[..., None], 0.0)
    return y_BTE.to(dtype), state_BKE.transpose(1, 2).contiguous()


def _document_numbers(x_BTE: Tensor, resets_BT: Tensor | None, taps: int) -> Tensor:
    """Return the document of the K-1 past inputs, counted from 0, and of the T new ones; shape [B, K-1+T]."""
    batch, tokens, _ = x_BTE.shape
    if resets_BT is None:
        return torch.zeros(batch, taps - 1 + tokens, dtype=torch.int64, device=x_BTE.device)
    return torch.nn.functional.pad(resets_BT.cumsum(dim=1), (taps - 1, 0))
