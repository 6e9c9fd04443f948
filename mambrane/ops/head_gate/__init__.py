"""A gate for each head of a path, opened by the input of the block. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Activations
from mambrane.ops.checks import Arguments, refuse
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["head_gate"]

_run = Operation("head_gate")
_check = Arguments("head_gate", path_BTD="B T D", u_BTD="B T D", weight_HP="H P", bias_H="H")


def head_gate(
    path_BTD: Activations,
    u_BTD: Activations,
    weight_HP: Float[Tensor, "H P"],
    bias_H: Float[Tensor, " H"],
    *,
    backend: Backend = "auto",
) -> tuple[Activations, Float[Tensor, "B T H"]]:
    """Return a path times a gate for each of its H heads, and the gate; gradients flow to all four.

    Args:
        path_BTD: what is gated; head h owns numbers h P, ..., (h + 1) P - 1.
        u_BTD: what opens the gates; a head sees its own numbers.
        weight_HP: how much each number opens the gate of its head; H times P is D.
        bias_H: what opens it anyway.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        The gated path [B, T, D] and the gate [B, T, H], in the wider of the types of the path and the weight.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1, 4)
        >>> gated, gate = head_gate(one, one, torch.tensor([[0.0, 0.0], [50.0, 50.0]]), torch.zeros(2))
        >>> gated.flatten().tolist(), gate.flatten().tolist()
        ([0.5, 0.5, 1.0, 1.0], [0.5, 1.0])
    """
    sizes = _check(path_BTD, u_BTD, weight_HP, bias_H)
    if sizes["H"] * sizes["P"] != sizes["D"]:
        refuse("head_gate", f"{sizes['H']} heads of {sizes['P']} numbers for {sizes['D']}", "as many as there are")
    return _run(backend, path_BTD, u_BTD, weight_HP, bias_H)
