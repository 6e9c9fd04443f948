"""Reference of the affine map:    y[..., o] = sum over i of x[..., i] W[o, i] + b[o]."""

from torch import Tensor
from torch.nn import functional


def linear_reference(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x W^T + b [..., O]."""
    return functional.linear(x, weight_OI, bias_O)
