"""The gate of an optimizer's update, and the usage it rests on. The formulas stand in `reference.py`."""

from collections.abc import Sequence

from torch import Tensor

from mambrane.ops.dispatch import Backend, choose_backend
from mambrane.ops.update_gate.reference import hold_back_reference, note_usage_reference

__all__ = ["hold_back_", "note_usage_"]


def note_usage_(
    usages: Sequence[Tensor], gradients: Sequence[Tensor], *, rate: float, backend: Backend = "auto"
) -> None:
    """Move running means of squared gradients on by one step, in place; not differentiable.

    Args:
        usages: a mean for each weight tensor, float32 or float64.
        gradients: the gradients of the same weights.
        rate: share of the new square in the mean.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Example:
        >>> import torch
        >>> usage = torch.tensor([1.0, 1.0])
        >>> note_usage_([usage], [torch.tensor([3.0, 0.0])], rate=0.5)
        >>> usage
        tensor([5.0000, 0.5000])
    """
    if not usages:
        return
    run = note_usage_reference
    if choose_backend("update_gate", usages[0].device, backend) == "numba":
        from mambrane.ops.update_gate.numba_cpu import note_usage_numba as run
    run(usages, gradients, rate=rate)


def hold_back_(
    weights: Sequence[Tensor],
    before: Sequence[Tensor],
    anchors: Sequence[Tensor],
    shares: Sequence[Tensor],
    *,
    backend: Backend = "auto",
) -> None:
    """Take back a share of every update that leads away from an anchor, in place; not differentiable.

    Args:
        weights: weight tensors after the update, float32 or float64.
        before: the same weights before it.
        anchors: where each weight is held.
        shares: how much of the update is taken back, 0 to 1; 0 leaves every bit of the weight.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Example:
        >>> import torch
        >>> weight = torch.tensor([2.0, 0.0])
        >>> hold_back_([weight], [torch.tensor([1.0, 1.0])], [torch.zeros(2)], [torch.full((2,), 0.5)])
        >>> weight
        tensor([1.5000, 0.0000])
    """
    if not weights:
        return
    run = hold_back_reference
    if choose_backend("update_gate", weights[0].device, backend) == "numba":
        from mambrane.ops.update_gate.numba_cpu import hold_back_numba as run
    run(weights, before, anchors, shares)
