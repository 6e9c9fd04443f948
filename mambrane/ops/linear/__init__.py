"""Affine map y = x W^T + b: most of a step's arithmetic. The formula stands in `reference.py`."""

import torch
from torch import Tensor

from mambrane.ops.dispatch import Backend, choose_backend
from mambrane.ops.linear.onednn_cpu import linear_onednn, sum_of_outer_products_onednn
from mambrane.ops.linear.reference import linear_reference

__all__ = ["linear", "sum_of_outer_products"]


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
    if choose_backend("linear", x.device, backend) == "onednn" and _is_plain(x, weight_OI):
        return linear_onednn(x, weight_OI, bias_O)
    return linear_reference(x, weight_OI, bias_O)


def sum_of_outer_products(left_RO: Tensor, right_RI: Tensor) -> Tensor:
    """Return left^T right [O, I], the gradient of a weight: for use inside backward passes, not differentiable."""
    if choose_backend("linear", left_RO.device) == "onednn" and _is_plain(left_RO, right_RI):
        return sum_of_outer_products_onednn(left_RO, right_RI)
    return left_RO.T @ right_RI


def _is_plain(*tensors: Tensor) -> bool:
    is_float32 = all(tensor.dtype == torch.float32 for tensor in tensors)
    return is_float32 and not torch.is_autocast_enabled(tensors[0].device.type)
