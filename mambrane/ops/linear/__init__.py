"""Affine map y = x W^T + b: most of a step's arithmetic. The formula is in `reference.py`."""

from torch import Tensor

from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["linear"]

_linear = Operation("linear")
_check = Arguments("linear", mixes_types=False, x="... I", weight_OI="O I", bias_O="O?")


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
    _check(x, weight_OI, bias_O)
    return _linear(backend, x, weight_OI, bias_O)
