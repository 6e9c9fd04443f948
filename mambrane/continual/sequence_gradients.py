"""Gradients of single sequences, several sequences in one pass.

    logits_Q = vmap(model)(weights_Q, sequences_Q)        a copy of the weights for each of Q sequences
    d (sum over q of scalar_q) / d weights_q  =  d scalar_q / d weights

The copies are one memory, and differ only in whose gradient they take. To PyTorch a product with a batch of weights is
one product, and what goes number by number one kernel; our own operators run one sequence after the other
(`mambrane.kernels.operator`). A GPU starts a fifth of the kernels that the sequences would start by themselves
(docs/decisions/gpu-kernels.md).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from mambrane.data.batch import MicroBatch
from mambrane.models.language_model import keeping_activations

TOKENS_AT_ONCE = 2048
"""As many as a micro-batch of the base preset has; a sequence of so many tokens fills a GPU by itself."""
SEQUENCES_AT_ONCE = 16
"""So that gradients of short sequences do not take more memory than training does."""


def passes_over(sequences: Sequence[MicroBatch], which: range) -> Iterator[list[int]]:
    """Yield the places of neighbours of one length, as many as go through a model together; all of `which`, once."""
    for num_tokens, group in groupby(which, key=lambda place: sequences[place].inputs_BT.shape[1]):
        places = list(group)
        size = min(SEQUENCES_AT_ONCE, max(1, TOKENS_AT_ONCE // num_tokens))
        yield from (places[start : start + size] for start in range(0, len(places), size))


def gradients_by_sequence(
    model: nn.Module,
    batch: MicroBatch,
    total_of: Callable[[Tensor], Tensor],
    take: Callable[[str, Tensor], None],
) -> None:
    """Differentiate a sum over sequences by the weights, each part by itself; the model's own gradients stay.

    Args:
        model: in evaluation mode. Its blocks keep their activations here, also where they run again in the backward
            pass elsewhere: that would read the model's weights and not the copies, and these sequences are few.
        batch: Q sequences, where the model is.
        total_of: of the logits [Q, T, V], the sum over sequences of a scalar of each one's logits.
        take: called once for each parameter with its name and the gradients [Q, ...], as soon as they are known: no
            more than those of one parameter need to be held.
    """
    weights = {
        name: parameter.detach().expand(len(batch.inputs_BT), *parameter.shape).requires_grad_()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    for name, weight in weights.items():
        weight.register_post_accumulate_grad_hook(_handing_over(name, take))

    def logits_of(weights: Mapping[str, Tensor], tokens_T: Tensor, resets_T: Tensor) -> Tensor:
        given = {"resets_BT": resets_T.unsqueeze(0)}
        return functional_call(model, dict(weights), (tokens_T.unsqueeze(0),), given).logits_BTV[0]

    # vmap looks neither into compiled code nor into fused attention.
    with keeping_activations(model), torch.compiler.set_stance("force_eager"), sdpa_kernel(SDPBackend.MATH):
        logits_QTV = torch.vmap(logits_of)(weights, batch.inputs_BT, batch.resets_BT)
    total_of(logits_QTV).backward()


def _handing_over(name: str, take: Callable[[str, Tensor], None]) -> Callable[[Tensor], None]:
    """Return a hook that hands the gradient of a tensor over and drops it."""

    def hand_over(weight: Tensor) -> None:
        assert weight.grad is not None, "torch has just put it there"
        take(name, weight.grad)
        weight.grad = None

    return hand_over
