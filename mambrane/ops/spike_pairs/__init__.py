"""Pairs of spikes on both sides of synapses: what STDP counts. The formula is in `reference.py`."""

import functools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mambrane.kernels.arguments import no_resets
from mambrane.ops.checks import Arguments, refuse, require_number, require_tensors
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.spike_pairs.reference import SpikePairs, spike_trace

__all__ = ["SpikePairs", "spike_pairs", "spike_trace"]

_run = Operation("spike_pairs")


def spike_pairs(
    pre: Sequence[Float[Tensor, "B T S"]],
    post: Sequence[Float[Tensor, "B T U"]],
    *,
    decay_plus: float,
    decay_minus: float,
    high_x: float = math.inf,
    high_y: float = math.inf,
    resets_BT: Bool[Tensor, "B T"] | None = None,
    counted_BT: Bool[Tensor, "B T"] | None = None,
    backend: Backend = "auto",
) -> SpikePairs:
    """Return how often, weighed by how soon, spikes of one side followed those of the other; not differentiable.

    Args:
        pre: presynaptic spikes of each synapse, 0 or 1, a row for each tick.
        post: postsynaptic spikes of each synapse, 0 or 1.
        decay_plus: part of the presynaptic trace kept per tick.
        decay_minus: part of the postsynaptic trace kept per tick.
        high_x: presynaptic trace above which it counts as high.
        high_y: postsynaptic trace above which it counts as high.
        resets_BT: True where a document starts: both traces are set to zero before this tick.
        counted_BT: False where spikes do not count (padding); all do where not given.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        Three sums over batch and time, each [N, U, S] for N synapses, in the type of the spikes (float32 or float64).

    Example:
        >>> import torch
        >>> pre, post = torch.tensor([[[1.0], [0.0], [0.0]]]), torch.tensor([[[0.0], [0.0], [1.0]]])
        >>> spike_pairs([pre], [post], decay_plus=0.5, decay_minus=0.5).causal_NUS.item()
        0.25
    """
    _check(pre, post, resets_BT, counted_BT)
    require_number("spike_pairs", "decay_plus", decay_plus, 0.0, 1.0, excludes=1.0)
    require_number("spike_pairs", "decay_minus", decay_minus, 0.0, 1.0, excludes=1.0)
    for name, high in (("high_x", high_x), ("high_y", high_y)):
        require_number("spike_pairs", name, 0.0 if high == math.inf else high)
    return _run(
        backend,
        _without_gradient(pre),
        _without_gradient(post),
        decay_plus=decay_plus,
        decay_minus=decay_minus,
        high_x=high_x,
        high_y=high_y,
        resets_BT=no_resets(pre[0]) if resets_BT is None else resets_BT,
        counted_BT=_every_tick(*pre[0].shape[:2], pre[0].device) if counted_BT is None else counted_BT,
    )


def _without_gradient(spikes: Sequence[Tensor]) -> list[Tensor]:
    return [each.detach() if each.requires_grad else each for each in spikes]


@functools.lru_cache(maxsize=8)
def _every_tick(batch: int, ticks: int, device: torch.device) -> Tensor:
    """Return True for every tick; remembered, because backends only read it."""
    return torch.ones(batch, ticks, dtype=torch.bool, device=device)


def _check(pre: Sequence[Tensor], post: Sequence[Tensor], resets_BT: Tensor | None, counted_BT: Tensor | None) -> None:
    require_tensors("spike_pairs", "pre", pre)
    require_tensors("spike_pairs", "post", post)
    if not pre or len(pre) != len(post):
        refuse("spike_pairs", f"{len(pre)} presynaptic tensors, {len(post)} postsynaptic ones", "one of each, or more")
    _arguments_of(len(pre))(*pre, *post, resets_BT, counted_BT)


@functools.cache
def _arguments_of(num_synapses: int) -> Arguments:
    sides = {
        f"{side}[{n}]": shape
        for side, shape in (("pre", "full B T S"), ("post", "full B T U"))
        for n in range(num_synapses)
    }
    return Arguments("spike_pairs", mixes_types=False, **sides, resets_BT="bool B T?", counted_BT="bool B T?")
