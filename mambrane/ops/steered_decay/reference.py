"""Reference of the decay of neurons that a Mamba steers.

tau = exp(log_tau) (1/2 + 1 / (1 + exp(-w y)))        decay = exp(-1 / tau)
"""

import torch
from torch import Tensor


def steered_decay_reference(heard_BTP: Tensor, weight_P: Tensor, log_tau_P: Tensor) -> Tensor:
    """Return the decay [B, T, P]; computed in float32 at least."""
    inner = torch.promote_types(heard_BTP.dtype, torch.float32)
    tau_BTP = log_tau_P.to(inner).exp() * (0.5 + torch.sigmoid(weight_P.to(inner) * heard_BTP))
    return torch.exp(-1.0 / tau_BTP).to(heard_BTP.dtype)
