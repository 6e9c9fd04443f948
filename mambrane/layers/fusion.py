"""Mixing of the two paths, head by head.

    g[t,h] = sigmoid(w_h . [s[t] ; m[t]] + b_h)        out = g s + (1 - g) m      in the slice of head h

s is the spiking path, m the Mamba path, both normalised by their root mean square (as Hymba does before it averages,
Dong et al. 2024, arXiv 2411.13676). b_h starts at -2, so Mamba dominates at first. Not adaptive: g[h] = sigmoid(b_h).
Where Mamba enters the stream by itself, the fusion returns g s alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambrane.core.shapes import Activations
from mambrane.layers.cost import ComponentCost, num_parameters
from mambrane.layers.elementwise import sigmoid
from mambrane.layers.norm import RmsNorm

INITIAL_BIAS = -2.0


class GatedFusion(nn.Module):
    """Mixes two paths of width D in H slices, or lets one through."""

    def __init__(self, dim: int, *, heads: int, adaptive: bool, mixes: bool = True) -> None:
        super().__init__()
        self.heads, self.mixes = heads, mixes
        self.spiking_norm = RmsNorm(dim)
        self.mamba_norm = RmsNorm(dim) if mixes or adaptive else None
        self.weight = nn.Parameter(torch.zeros(heads, 2 * dim)) if adaptive else None
        self.bias = nn.Parameter(torch.full((heads,), INITIAL_BIAS))

    def forward(self, spiking_BTD: Activations, mamba_BTD: Activations) -> tuple[Activations, Tensor]:
        """Return the mixture [B, T, D] and the share of the spiking path, [B, T, H] or [H]."""
        spiking_BTD = self.spiking_norm(spiking_BTD)
        if self.mamba_norm is not None:
            mamba_BTD = self.mamba_norm(mamba_BTD)
        if self.weight is None:
            gate = torch.sigmoid(self.bias)
        else:
            both = torch.cat([spiking_BTD, mamba_BTD], dim=-1)
            gate = sigmoid(F.linear(both, self.weight) + self.bias)
        spiking_heads = spiking_BTD.unflatten(-1, (self.heads, -1))
        if not self.mixes:
            return (gate.unsqueeze(-1) * spiking_heads).flatten(-2), gate
        mamba_heads = mamba_BTD.unflatten(-1, (self.heads, -1))
        mixed = mamba_heads + gate.unsqueeze(-1) * (spiking_heads - mamba_heads)
        return mixed.flatten(-2), gate

    def cost(self) -> ComponentCost:
        """Return what the mixture costs."""
        return ComponentCost(
            name="fusion and output",
            parameters=num_parameters(self),
            dense_macs_per_token=0.0 if self.weight is None else float(self.weight.numel()),
            state_updates_per_token=float(self.spiking_norm.weight.numel()),
        )
