"""One small call of cfc, for compiling its kernels ahead (ops/warm_up.py)."""

from functools import partial

import torch
from torch import Tensor

from mambrane.ops.cfc import CfcWeights, cfc

_ones = partial(torch.ones, requires_grad=True)


def example() -> tuple[Tensor, ...]:
    """Return the outputs of one call; sizes of two, because an array of one row is contiguous in both orders."""
    heads = ("ff1", "ff2", "time_a", "time_b")
    backbone = {"backbone_weight": _ones(2, 4), "backbone_bias": _ones(2)}
    weights = {f"{head}_weight": _ones(2, 2) for head in heads} | {f"{head}_bias": _ones(2) for head in heads}
    return cfc(_ones(2, 2, 2), CfcWeights(**backbone, **weights))
