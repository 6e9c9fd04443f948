"""Root-mean-square normalisation whose weight follows the type of its input.

    y = x / sqrt(mean(x^2) + eps) * weight

torch.nn.RMSNorm warns and takes a slow path where autocast hands it bf16 activations beside its float32 weight.
Source: Zhang & Sennrich 2019, arXiv 1910.07467.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RmsNorm(nn.Module):
    """Normalises the last dimension; parameter name and arithmetic are those of torch.nn.RMSNorm."""

    def __init__(self, dim: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the normalised input, in its own type."""
        return F.rms_norm(x_BTD, self.weight.shape, self.weight.to(x_BTD.dtype), self.eps)
