"""Affine map y = x W^T + b: most of a step's arithmetic. The formula stands in `reference.py`."""

import torch
from torch import Tensor

from mambrane.ops.dispatch import Backend, choose_backend
from mambrane.ops.linear.onednn_cpu import linear_onednn
from mambrane.ops.linear.reference import linear_reference

__all__ = ["linear"]


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None, *, backend: Backend = "auto") -> Tensor:
    """Return x W^T + b; gradients flow to all three.

    Args:
        x: any shape, of I numbers in the last dimension.
        weight_OI: the weight.
        bias_O: added to every row; nothing where not given.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`. The kernels are for float32: other types, and
            products that autocast will round, are left to PyTorch.

    Returns:
        The map of x [..., O], in the type of x.

    Example:
        >>> import torch
        >>> linear(torch.ones(2, 3), torch.ones(1, 3)).flatten().tolist()
        [3.0, 3.0]
    """
    is_plain = x.dtype == weight_OI.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    if choose_backend("linear", x.device, backend) == "onednn" and is_plain:
        return linear_onednn(x, weight_OI, bias_O)
    return linear_reference(x, weight_OI, bias_O)
