"""Causal trace in chunks of tokens, in plain PyTorch: the backend for devices without a kernel.

The formula is in `reference.py`: a linear recurrence with the decay of the unit (`mambrane.ops.recurrence`).
"""

import torch
from torch import Tensor

from mambrane.kernels.arguments import as_tensor_like, compute_dtype
from mambrane.ops.recurrence import linear_recurrence


def causal_trace_chunked(
    x_BTS: Tensor, decay: float | Tensor, *, state_BS: Tensor | None, resets_BT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the trace and its last value; arguments as in `mambrane.ops.causal_trace.causal_trace`."""
    inner = compute_dtype(x_BTS)
    inner_BTS = x_BTS.to(inner)
    decay_S = as_tensor_like(decay, inner_BTS)
    first_BS = torch.zeros_like(inner_BTS[:, 0]) if state_BS is None else state_BS.to(inner)
    drive_BTS = (1.0 - decay_S) * inner_BTS
    trace_BTS, last_BS = linear_recurrence(decay_S.expand_as(drive_BTS), drive_BTS, first_BS, resets_BT)
    return trace_BTS.to(x_BTS.dtype), last_BS
