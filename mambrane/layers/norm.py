"""Root-mean-square normalisation whose weight follows the type of its input.

    y = x / sqrt(mean(x^2) + eps) * weight          the mean over each of `groups` parts of equal width

torch.nn.RMSNorm warns and takes a slow path where autocast hands it bf16 activations beside its float32 weight.
Source: Zhang & Sennrich 2019, arXiv 1910.07467.
"""

import torch
from torch import Tensor, nn

from mambrane.ops.rms_norm import rms_norm


class RmsNorm(nn.Module):
    """Normalises the last dimension; parameter name and arithmetic are those of torch.nn.RMSNorm."""

    def __init__(self, dim: int, *, eps: float = 1e-5, groups: int = 1) -> None:
        super().__init__()
        self.eps, self.groups = eps, groups
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the normalised input, in its own type."""
        if self.groups > 1:
            parts = x_BTD.unflatten(-1, (self.groups, -1))
            return rms_norm(parts, eps=self.eps).flatten(-2) * self.weight.to(x_BTD.dtype)
        return rms_norm(x_BTD, self.weight, eps=self.eps)
