"""Selective scan in chunks of tokens, in plain PyTorch: the backend for devices without a kernel.

The formula is in `reference.py`: a linear recurrence with a = exp(delta A) and b = delta x B
(`mambrane.ops.recurrence`). It keeps some ten tensors of B x T x E x N numbers for its backward pass.
"""

import torch
from torch import Tensor

from mambrane.kernels.arguments import compute_dtype
from mambrane.ops.recurrence import linear_recurrence


def selective_scan_chunked(
    x_BTE: Tensor,
    delta_BTE: Tensor,
    A_EN: Tensor,
    B_BTN: Tensor,
    C_BTN: Tensor,
    *,
    state_BEN: Tensor | None,
    resets_BT: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return y and the last state; arguments as in `mambrane.ops.selective_scan.selective_scan`."""
    inner = compute_dtype(x_BTE)
    x, delta_BTE, A_EN, B_BTN, C_BTN = (each.to(inner) for each in (x_BTE, delta_BTE, A_EN, B_BTN, C_BTN))
    state_BEN = x.new_zeros(x.shape[0], *A_EN.shape) if state_BEN is None else state_BEN.to(inner)
    decay_BTEN = torch.exp(delta_BTE[..., None] * A_EN)
    drive_BTEN = (delta_BTE * x)[..., None] * B_BTN[:, :, None]
    states_BTEN, last_BEN = linear_recurrence(decay_BTEN, drive_BTEN, state_BEN, resets_BT)
    return (states_BTEN * C_BTN[:, :, None]).sum(dim=-1).to(x_BTE.dtype), last_BEN
