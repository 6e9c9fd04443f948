"""What the model remembers between two calls: a value, passed in and returned. Its size does not grow with T."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Activations, Logits

BlockState = Any
"""State of one block: a NamedTuple of tensors, None and further NamedTuples, of the type that its kind defines."""


class ModelState(NamedTuple):
    """State of all blocks, in order."""

    blocks: tuple[BlockState, ...]

    def detach(self) -> "ModelState":
        """Return the same state cut off from the graph, for truncated back-propagation or generation."""
        return _map_tensors(self, torch.Tensor.detach)


class BlockActivity(NamedTuple):
    """What a block did: for STDP, firing-rate terms, figures. Spikes and gate are detached; None is not there."""

    pre_spikes_BTS: Tensor | None = None
    """Spikes of the first population, on the input side of the plastic synapse; a row for each tick."""
    post_spikes_BTS: Tensor | None = None
    """Spikes of the second population, on its output side; a row for each tick, None for a liquid cell."""
    first_rate: Tensor | None = None
    """Spikes of a neuron of the first population per tick, mean; differentiable through the surrogate."""
    second_rate: Tensor | None = None
    """The same of the second population."""
    gate: Tensor | None = None
    """How much of what spikes contribute is let through, [B, T, H] or [H]; None without a Mamba beside them."""


class ModelOutput(NamedTuple):
    """What the language model returns."""

    logits_BTV: Logits | None
    """Scores of the next token, float32 (float64 in a float64 model); None where they were not asked for."""
    state: ModelState
    activity: tuple[BlockActivity, ...]
    nats_BT: Float[Tensor, "B T"] | None = None
    """Cross entropy of each target, 0 where none counts; None where no targets were given."""
    hidden_BTD: Activations | None = None
    """What the head reads; `LanguageModel` always returns it."""


def _map_tensors(tree, function):  # noqa: ANN001, ANN202 -- any tree of NamedTuples
    if isinstance(tree, Tensor):
        return function(tree)
    if tree is None:
        return None
    if hasattr(tree, "_fields"):
        return type(tree)(*(_map_tensors(item, function) for item in tree))
    return tuple(_map_tensors(item, function) for item in tree)
