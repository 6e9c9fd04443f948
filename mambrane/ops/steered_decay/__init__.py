"""Decays of neurons whose time constants a Mamba steers, token by token. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation

__all__ = ["steered_decay"]

_run = Operation("steered_decay")
_check = Arguments("steered_decay", heard_BTP="B T P", weight_P="P", log_tau_P="P")


def steered_decay(
    heard_BTP: Float[Tensor, "B T P"],
    weight_P: Float[Tensor, " P"],
    log_tau_P: Float[Tensor, " P"],
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "B T P"]:
    """Return the part of a membrane that is kept at each token; gradients flow to all three.

    Args:
        heard_BTP: what steers.
        weight_P: how much; 0 leaves every time constant as it is, and no weight more than halves it or adds half to it.
        log_tau_P: logarithm of each time constant, in ticks.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        exp(-1 / tau) of each neuron and token, from 0 to 1, in the type of `heard_BTP`.

    Example:
        >>> import torch
        >>> decay = steered_decay(torch.tensor([[[0.0], [9.0]]]), torch.ones(1), torch.zeros(1))
        >>> [round(number, 4) for number in decay.flatten().tolist()]
        [0.3679, 0.5134]
    """
    _check(heard_BTP, weight_P, log_tau_P)
    return _run(backend, heard_BTP, weight_P, log_tau_P)
