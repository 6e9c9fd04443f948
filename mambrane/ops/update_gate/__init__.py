"""The gate of an optimizer's update, and the usage it rests on. The formulas stand in `reference.py`."""

import operator
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.kernels.arguments import are_alike
from mambrane.ops.checks import (
    Arguments,
    refuse,
    require_changeable,
    require_number,
    require_tensor,
    require_tensors,
)
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["hold_back_", "note_usage_"]

_note_usage = Operation("update_gate", "note_usage")
_hold_back = Operation("update_gate", "hold_back")
_check = Arguments("update_gate", usage_W="full W")
_check_two = Arguments("update_gate", anchor_W="full W", share_W="full W")


def note_usage_(
    usage_W: Float[Tensor, " W"],
    gradients: Sequence[Tensor],
    starts: Sequence[int],
    *,
    rate: float,
    backend: Backend = "auto",
) -> None:
    """Move running means of squared gradients on by one step, in place; not differentiable.

    Args:
        usage_W: the means of all weights, laid end to end; float32 or float64, as all other numbers.
        gradients: the gradient of each parameter.
        starts: where each parameter begins in the vector.
        rate: share of the new square in the mean.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Example:
        >>> import torch
        >>> usage = torch.tensor([1.0, 1.0, 1.0])
        >>> note_usage_(usage, [torch.tensor([3.0, 0.0])], [1], rate=0.5)
        >>> usage
        tensor([1.0000, 5.0000, 0.5000])
    """
    require_tensors("update_gate", "gradients", gradients)
    if not gradients:
        return
    _check(usage_W)
    require_changeable("update_gate", "usage_W", usage_W)
    require_number("update_gate", "rate", rate, 0.0, 1.0)
    require_tensors("update_gate", "starts", starts)
    if not _fit_at_once(starts, gradients, (usage_W,)):
        _require_parts(starts, gradients, usage_W)
    _note_usage(backend, usage_W, gradients, starts, rate=rate)


def hold_back_(
    weights: Sequence[Tensor],
    before: Sequence[Tensor],
    anchor_W: Float[Tensor, " W"],
    share_W: Float[Tensor, " W"],
    starts: Sequence[int],
    *,
    backend: Backend = "auto",
) -> None:
    """Take back a share of every update that leads away from an anchor, in place; not differentiable.

    Args:
        weights: each parameter after the update, float32 or float64.
        before: the same parameters before it.
        anchor_W: where each weight is held, all parameters laid end to end.
        share_W: how much of the update is taken back, 0 to 1; 0 leaves every bit of the weight.
        starts: where each parameter begins in the two vectors.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Example:
        >>> import torch
        >>> weight, before = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0])
        >>> hold_back_([weight], [before], torch.zeros(2), torch.tensor([0.5, 0.5]), [0])
        >>> weight
        tensor([1.5000, 0.0000])
    """
    require_tensors("update_gate", "weights", weights)
    require_tensors("update_gate", "before", before)
    if not weights:
        return
    _check_two(anchor_W, share_W)
    require_tensors("update_gate", "starts", starts)
    if not _can_be_held_at_once(weights, before, anchor_W, share_W, starts):
        _require_pairs(weights, before)
        _require_parts(starts, weights, anchor_W, share_W)
        _require_parts(starts, before, anchor_W)
    _hold_back(backend, weights, before, anchor_W, share_W, starts)


def _can_be_held_at_once(
    weights: Sequence[Tensor], before: Sequence[Tensor], anchor_W: Tensor, share_W: Tensor, starts: Sequence[int]
) -> bool:
    """Return whether all is right by a quick look; where it is not, a longer one finds out what is wrong."""
    return (
        not torch.is_grad_enabled()
        and _fit_at_once(starts, weights, (anchor_W, share_W))
        and are_alike(before, anchor_W)
        and [*map(Tensor.size, weights)] == [*map(Tensor.size, before)]
        and not any(map(Tensor.is_inference, weights))
    )


def _require_pairs(weights: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Raise UserError unless the weights can be changed, and there is a tensor of its shape before each."""
    for number, weight in enumerate(weights):
        require_changeable("update_gate", f"weights[{number}]", weight)
    for number, weight in enumerate(before):
        require_tensor("update_gate", f"before[{number}]", weight)
    if [each.shape for each in weights] != [each.shape for each in before]:
        refuse("update_gate", "weights and what was before them differ in shape", "a tensor before each, of its shape")


def _require_parts(starts: Sequence[int], tensors: Sequence[Tensor], *vectors: Tensor) -> None:
    """Raise UserError unless each tensor has its part, of its type and on its device, in every vector."""
    for start in starts:
        if type(start) is not int:
            refuse("update_gate", f"a start of type {type(start).__name__}", "an integer")
    if len(starts) != len(tensors):
        refuse("update_gate", f"{len(starts)} starts for {len(tensors)} tensors", "one for each")
    for vector_W in vectors:
        if not vector_W.is_contiguous():
            refuse("update_gate", "a vector whose numbers do not lie side by side", "a contiguous one")
        for start, tensor in zip(starts, tensors, strict=True):
            require_tensor("update_gate", "a part", tensor)
            if tensor.dtype != vector_W.dtype or tensor.device != vector_W.device:
                found = f"a tensor of {tensor.dtype} on {tensor.device}"
                refuse("update_gate", found, f"{vector_W.dtype} on {vector_W.device}, as the vector")
            if not tensor.is_contiguous():
                refuse("update_gate", "a tensor whose numbers do not lie side by side", "a contiguous one")
            if start < 0 or start + tensor.numel() > vector_W.numel():
                found = f"a part of {tensor.numel()} numbers from {start} on in a vector of {vector_W.numel()}"
                refuse("update_gate", found, "a part that lies within")


def _fit_at_once(starts: Sequence[int], tensors: Sequence[Tensor], vectors: Sequence[Tensor]) -> bool:
    """Return whether each tensor has its part in every vector, by a quick look that does not say which has not."""
    if len(starts) != len(tensors) or set(map(type, starts)) != {int} or not are_alike(tensors, vectors[0]):
        return False
    end = max(map(operator.add, starts, map(Tensor.numel, tensors)))
    return min(starts) >= 0 and are_alike(vectors, vectors[0]) and all(end <= each.numel() for each in vectors)
