"""The quadratic penalty of EWC, SI and MAS: strength / 2 sum_k F_k (w_k - w*_k)^2."""

from typing import Any

import torch
from torch import Tensor, nn

from mambrane.engine.shards import as_piece, is_piece, own_numbers, totals


def quadratic_penalty(
    strength: float, importance: dict[str, Tensor], anchor: dict[str, Tensor], model: nn.Module
) -> Tensor:
    """Return the penalty on weights w that left their anchor w*, weighed by importance F, by parameter name.

    The sum runs in the order of `importance`, which decides its last bits. Where weights lie in pieces, importance and
    anchor are those of this process' pieces.
    """
    triples = [(importance[name], anchor[name], model.get_parameter(name)) for name in importance]
    return _QuadraticPenalty.apply(strength, *(tensor for triple in triples for tensor in triple))


class _QuadraticPenalty(torch.autograd.Function):
    """One node of the graph for all weights; the gradient is strength F (w - w*)."""

    @staticmethod
    def forward(ctx: Any, strength: float, *tensors: Tensor) -> Tensor:  # noqa: ANN401
        importances, anchors, parameters = (list(tensors[place::3]) for place in range(3))
        weights = [own_numbers(parameter) for parameter in parameters]
        ctx.parameters = parameters
        drifts = torch._foreach_sub(weights, anchors)
        gradients = torch._foreach_mul(importances, drifts)
        torch._foreach_mul_(gradients, strength)
        ctx.save_for_backward(*gradients)
        terms = [of_weight.flatten() @ drift.flatten() for of_weight, drift in zip(gradients, drifts, strict=True)]
        penalty = 0.5 * torch.stack(terms).sum()
        return penalty if not is_piece(parameters[0]) else penalty.new_tensor(totals([penalty], like=parameters[0])[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        gradients = torch._foreach_mul(list(ctx.saved_tensors), gradient)
        of_weights = [as_piece(own, like=parameter) for own, parameter in zip(gradients, ctx.parameters, strict=True)]
        return (None, *(part for of_weight in of_weights for part in (None, None, of_weight)))
