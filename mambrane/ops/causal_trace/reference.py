"""Causal exponential trace, in plain PyTorch: the definition that faster backends must match.

    r[t] = decay * r[t-1] + (1 - decay) * x[t]

The leaky average of the past with decay = exp(-1 / tau_tokens): a constant input x gives r -> x.
Source: Gerstner, Kistler, Naud, Paninski, Neuronal Dynamics (2014), section 19.2.2 (online traces of spikes).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.kernels.arguments import as_tensor_like


def causal_trace_reference(
    x_BTS: Float[Tensor, "B T S"],
    decay: float | Float[Tensor, " S"],
    *,
    state_BS: Float[Tensor, "B S"] | None = None,
    resets_BT: Resets | None = None,
) -> tuple[Float[Tensor, "B T S"], Float[Tensor, "B S"]]:
    """Return the trace and its last value; arguments as in `mambrane.ops.causal_trace.causal_trace`."""
    dtype = x_BTS.dtype
    inner = torch.promote_types(dtype, torch.float32)
    x_BTS = x_BTS.to(inner)
    decay_S = as_tensor_like(decay, x_BTS)
    r_BS = torch.zeros_like(x_BTS[:, 0]) if state_BS is None else state_BS.to(inner)
    trace = []
    for t in range(x_BTS.shape[1]):
        if resets_BT is not None:
            r_BS = r_BS.masked_fill(resets_BT[:, t, None], 0.0)
        r_BS = decay_S * r_BS + (1.0 - decay_S) * x_BTS[:, t]
        trace.append(r_BS)
    return torch.stack(trace, dim=1).to(dtype), r_BS
