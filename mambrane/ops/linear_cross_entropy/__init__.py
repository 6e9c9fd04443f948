"""Cross entropy of an affine map: the head and the loss of a language model. The formula is in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Activations, Tokens
from mambrane.kernels.autocast import autocast_type
from mambrane.ops.checks import Arguments
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.linear_cross_entropy.chunked import CHUNK_LOGITS
from mambrane.ops.linear_cross_entropy.reference import nats_of_logits

__all__ = ["CHUNK_LOGITS", "linear_cross_entropy", "nats_of_logits"]

_run = Operation("linear_cross_entropy")
_check = Arguments("linear_cross_entropy", mixes_types=False, x_BTD="B T D", weight_VD="V D", targets_BT="int64 B T")


def linear_cross_entropy(
    x_BTD: Activations, weight_VD: Float[Tensor, "V D"], targets_BT: Tokens, *, backend: Backend = "auto"
) -> Float[Tensor, "B T"]:
    """Return the nats of each target under softmax(W x); gradients flow to x and W.

    Args:
        x_BTD: what the head reads.
        weight_VD: weight of the head, a row for each token of the vocabulary.
        targets_BT: the right tokens; IGNORED_TARGET where none counts.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        Nats [B, T], 0 where no target counts; float32, or float64 for float64 input. Under autocast the products run
        in its type, the rest in float32.

    Example:
        >>> import torch
        >>> nats = linear_cross_entropy(torch.zeros(1, 2, 4), torch.zeros(8, 4), torch.tensor([[3, -100]]))
        >>> [round(number, 4) for number in nats.flatten().tolist()]
        [2.0794, 0.0]
    """
    _check(x_BTD, weight_VD, targets_BT)
    dtype = autocast_type(x_BTD.device.type)
    if dtype is not None:
        x_BTD, weight_VD = x_BTD.to(dtype), weight_VD.to(dtype)
    return _run(backend, x_BTD, weight_VD, targets_BT)
