"""The main loss of a micro-batch: cross entropy in nats, summed over the counted targets.

    loss_sum = - sum over b, t with target != IGNORED_TARGET of log softmax(logits[b, t])[target[b, t]]

A sum, never a mean: the step divides once, by all of its targets, so that every token weighs the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from mambrane.data.batch import MicroBatch
from mambrane.ops.linear_cross_entropy import nats_of_logits


class Objective(NamedTuple):
    """The loss of one micro-batch and the model output that it came from."""

    loss_sum: Tensor
    """Sum of nats over the counted targets; a scalar in float32 or float64."""
    output: Any
    """What the model returned; loss terms read it, and its `activity` goes to the after-step extensions."""


ObjectiveFunction = Callable[[nn.Module, MicroBatch], Objective]


def next_token_objective(model: nn.Module, batch: MicroBatch) -> Objective:
    """Return the summed cross entropy of the next token, in nats, of a model that returns `logits_BTV`."""
    output = model(batch.inputs_BT, resets_BT=batch.resets_BT)
    return Objective(nats_of(output, batch).sum(), output)


def fused_next_token_objective(model: nn.Module, batch: MicroBatch) -> Objective:
    """Return the same of a model that takes `targets_BT` and returns `nats_BT`, without keeping B x T x V logits."""
    output = model(batch.inputs_BT, resets_BT=batch.resets_BT, targets_BT=batch.targets_BT)
    return Objective(nats_of(output, batch).sum(), output)


def nats_of(output: Any, batch: MicroBatch) -> Tensor:  # noqa: ANN401 -- the output of any model
    """Return the nats of each target [B, T], float32 or float64, from a model's output; 0 where no target counts."""
    if getattr(output, "nats_BT", None) is not None:
        return output.nats_BT
    return nats_of_logits(output.logits_BTV, batch.targets_BT)
