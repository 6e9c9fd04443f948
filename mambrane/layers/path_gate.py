"""How much of a second path enters the residual stream, head by head.

    g[t,h] = sigmoid(w_h . u[t,h] + b_h)        out = g s        in the slice of head h

u is the normalised input of the block, s the second path; a head sees its own slice of both. w and b start at zero, so
that every head starts half open. Not adaptive: g[h] = sigmoid(b_h), one learned number for each head.
"""

import torch
from torch import Tensor, nn

from mambrane.core.shapes import Activations
from mambrane.layers.cost import ComponentCost, num_parameters
from mambrane.ops.head_gate import head_gate


class PathGate(nn.Module):
    """Gates a path of width D in H slices."""

    def __init__(self, dim: int, *, heads: int, adaptive: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, dim // heads)) if adaptive else None
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, path_BTD: Activations, u_BTD: Activations) -> tuple[Activations, Tensor]:
        """Return the gated path [B, T, D] and the gate, [B, T, H] or [H]."""
        if self.weight is not None:
            return head_gate(path_BTD, u_BTD, self.weight, self.bias)
        gate = torch.sigmoid(self.bias)
        return (gate.unsqueeze(-1) * path_BTD.unflatten(-1, (self.bias.numel(), -1))).flatten(-2), gate

    def cost(self) -> ComponentCost:
        """Return what the gate costs."""
        return ComponentCost(
            name="path gate",
            parameters=num_parameters(self),
            state_updates_per_token=0.0 if self.weight is None else float(self.weight.numel()),
        )
