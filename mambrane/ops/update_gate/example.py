"""One small call of update_gate, for compiling its kernels ahead (ops/warm_up.py)."""

import torch
from torch import Tensor

from mambrane.ops.update_gate import hold_back_, note_usage_


def example() -> tuple[Tensor, ...]:
    """Return what one call of each function has changed."""
    weight_W, before_W, usage_W = torch.ones(2), torch.zeros(2), torch.ones(2)
    note_usage_(usage_W, [weight_W], [0], rate=0.5)
    hold_back_([weight_W], [before_W], usage_W, usage_W, [0])
    return usage_W, weight_W
