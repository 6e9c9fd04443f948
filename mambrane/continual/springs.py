"""Springs that hold weights where they were: strength / 2 sum_k F_k (w_k - w*_k)^2."""

from typing import Any

import torch
from torch import Tensor, nn


def spring_energy(strength: float, stiffness: dict[str, Tensor], anchor: dict[str, Tensor], model: nn.Module) -> Tensor:
    """Return the energy of springs of stiffness F between the weights w and the anchor w*, by parameter name.

    The sum runs in the order of `stiffness`, which decides its last bits.
    """
    springs = [(stiffness[name], anchor[name], model.get_parameter(name)) for name in stiffness]
    return _Springs.apply(strength, *(tensor for spring in springs for tensor in spring))


class _Springs(torch.autograd.Function):
    """One node of the graph for all weights; the gradient is strength F (w - w*)."""

    @staticmethod
    def forward(ctx: Any, strength: float, *springs: Tensor) -> Tensor:  # noqa: ANN401
        stiffnesses, anchors, weights = (list(springs[part::3]) for part in range(3))
        drifts = torch._foreach_sub(weights, anchors)
        forces = torch._foreach_mul(stiffnesses, drifts)
        torch._foreach_mul_(forces, strength)
        ctx.save_for_backward(*forces)
        energies = [force.flatten() @ drift.flatten() for force, drift in zip(forces, drifts, strict=True)]
        return 0.5 * torch.stack(energies).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        forces = torch._foreach_mul(list(ctx.saved_tensors), gradient)
        return (None, *(part for force in forces for part in (None, None, force)))
