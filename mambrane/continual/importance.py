"""How important each weight is for a task, estimated at its end from some of its text.

    Fisher information    mean over sequences of (d/dw sum_t log p(y_t | tokens up to t))^2,    y_t ~ the model itself
    output sensitivity    mean over sequences of |d/dw sum_t |logits_t|^2|

Which Fisher: labels are sampled from the model's own distribution and the gradient of one sequence at a time is
squared, which estimates the true Fisher information. True labels would give the empirical Fisher, and squaring the
gradient of a batch mean would shrink it by the batch size (van de Ven, arXiv 2502.11756).

Several sequences go through the model in one pass (sequence_gradients.py), which is what a GPU needs. Several processes
share the sequences; each sequence has a generator of its own, so whoever looks at it draws the same. Where weights lie
in pieces, of which a pass needs all, they look at one sequence at a time together, and each keeps its piece.

Sources: Kirkpatrick et al., PNAS 114 (2017); Aljundi et al., Memory Aware Synapses (arXiv 1711.09601), equation 3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from mambrane.continual.sequence_gradients import gradients_by_sequence, passes_over
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch, joined
from mambrane.engine.epoch import Loader
from mambrane.engine.ranks import ONE_RANK, Ranks
from mambrane.engine.shards import is_sharded, own_numbers, totals
from mambrane.engine.snapshot import evaluation_mode


def sampled_fisher(
    model: nn.Module,
    sequences: Sequence[MicroBatch],
    *,
    generator: torch.Generator,
    device: torch.device,
    ranks: Ranks = ONE_RANK,
) -> dict[str, Tensor]:
    """Return the mean squared gradient of the log-likelihood of labels that the model itself draws; {} without text.

    Args:
        model: its gradients are overwritten and dropped.
        sequences: micro-batches of one row, the same on all ranks; positions without a target do not count.
        generator: draws a seed for the labels of each sequence.
        device: where the model is.
        ranks: the processes that share the sequences; all of them get the mean over all sequences.
    """
    seeds = torch.randint(2**62, (len(sequences),), generator=generator).tolist()
    # Drawn where they are: a copy of N x V numbers for each sequence would take longer than the rest of it.
    drawing_device = device if device.type == "cuda" else torch.device("cpu")

    def log_likelihood(logits_NV: Tensor, index: int) -> Tensor:
        log_probabilities_NV = logits_NV.log_softmax(dim=-1)
        drawing = torch.Generator(drawing_device).manual_seed(seeds[index])
        probabilities_NV = log_probabilities_NV.detach().exp().to(drawing_device)
        labels_N = torch.multinomial(probabilities_NV, 1, generator=drawing).squeeze(1)
        # A sum over the right entries whose gradient a GPU writes in the same order each time, which gather's is not.
        return -nll_loss(log_probabilities_NV, labels_N.to(device), reduction="sum")

    return _mean_over_sequences(model, sequences, device, log_likelihood, Tensor.square, ranks)


def output_sensitivity(
    model: nn.Module,
    sequences: Sequence[MicroBatch],
    *,
    generator: torch.Generator,
    device: torch.device,
    ranks: Ranks = ONE_RANK,
) -> dict[str, Tensor]:
    """Return the mean size of the gradient of the squared logits; needs no labels, so `generator` is not used."""

    def squared_length(logits_NV: Tensor, index: int) -> Tensor:
        return logits_NV.square().sum()

    return _mean_over_sequences(model, sequences, device, squared_length, Tensor.abs, ranks)


def normalised(importance: dict[str, Tensor], parameters: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return the importance over its mean over all weights that it is given for; where it is 0 throughout, none.

    Args:
        importance: by name of each parameter that the method looks at.
        parameters: the model's, by name, where the importance may be that of this process' pieces of them.
    """
    if not importance:
        return {}
    wholes = {name: importance[name] if parameters is None else parameters[name] for name in importance}
    sums = totals([values.double().sum() for values in importance.values()], like=next(iter(wholes.values())))
    used = {name: total for name, total in zip(importance, sums, strict=True) if total}
    # Rounded once, so that the order of the parameters, which a restart may change, does not matter.
    total = math.fsum(used.values())
    num_weights = sum(each.numel() for each in wholes.values())
    return {name: importance[name] * (num_weights / total) for name in used}


def peek_sequences(loader: Loader, num_sequences: int) -> list[MicroBatch]:
    """Return the first sequences of the coming epoch, one a micro-batch; the loader's cursor stays where it is."""
    sequences = (
        batch.rows(slice(row, row + 1)) for batch in loader.epoch_batches() for row in range(batch.inputs_BT.shape[0])
    )
    try:
        return list(islice(sequences, num_sequences))
    finally:
        loader.rewind()


def _mean_over_sequences(
    model: nn.Module,
    sequences: Sequence[MicroBatch],
    device: torch.device,
    scalar_of: Callable[[Tensor, int], Tensor],
    size_of: Callable[[Tensor], Tensor],
    ranks: Ranks,
) -> dict[str, Tensor]:
    """Return the mean over sequences of size_of(gradient of scalar_of(logits, index)), from targets that count."""
    if not sequences:
        return {}
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sums = {name: torch.zeros_like(own_numbers(parameter)) for name, parameter in parameters.items()}

    def add(name: str, gradients_Q: Tensor) -> None:
        sums[name].add_(size_of(gradients_Q).sum(dim=0))

    together = is_sharded(model)
    which = range(len(sequences)) if together else ranks.share_of(len(sequences))
    # The model that has learned is looked at, without dropout.
    with evaluation_mode(model):
        for places in ([place] for place in which) if together else passes_over(sequences, which):
            batch = joined(*(sequences[place] for place in places)).to(device)
            total_of = partial(_total, scalar_of, places, batch.targets_BT)
            if len(places) > 1:
                gradients_by_sequence(model, batch, total_of, add)
                continue
            model.zero_grad(set_to_none=True)
            total_of(model(batch.inputs_BT, resets_BT=batch.resets_BT).logits_BTV).backward()
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    # Together, the gradient is the sum of equal ones.
                    gradient = own_numbers(parameter.grad) / ranks.size if together else parameter.grad
                    sums[name].add_(size_of(gradient))
    model.zero_grad(set_to_none=True)
    if not together:
        ranks.sum_(*sums.values())
    return {name: total / len(sequences) for name, total in sums.items()}


def _total(
    scalar_of: Callable[[Tensor, int], Tensor], places: Sequence[int], targets_QT: Tensor, logits_QTV: Tensor
) -> Tensor:
    """Return the sum over sequences of the scalar of the logits whose targets count."""
    rows = zip(places, logits_QTV.unbind(), (targets_QT != IGNORED_TARGET).unbind(), strict=True)
    return torch.stack([scalar_of(logits_TV[counts_T].float(), place) for place, logits_TV, counts_T in rows]).sum()
