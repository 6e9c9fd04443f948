"""Sums over tokens of what needs their logits, with no more than CHUNK_LOGITS of these at a time.

The logits of a chunk exist while it is worked on, in the forward pass and again in the backward pass.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mambrane.ops.linear import linear
from mambrane.ops.linear_cross_entropy import CHUNK_LOGITS


def sum_over_chunks(of_chunk: Callable[..., Tensor], vocab_size: int, *of_tokens: Tensor) -> Tensor:
    """Return the sum of a scalar of each chunk of tokens, from tensors whose first dimension they are."""
    chunks = zip(*(each.split(max(1, CHUNK_LOGITS // vocab_size)) for each in of_tokens), strict=True)
    # Nothing in a chunk is drawn, so the random state need not be kept for its second run.
    again_in_backward = partial(checkpoint, of_chunk, use_reentrant=False, preserve_rng_state=False)
    return torch.stack([again_in_backward(*chunk) for chunk in chunks]).sum()


def log_probabilities(x_ND: Tensor, weight_VD: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return log softmax(W x / temperature), in float32 at least."""
    return at_temperature(logits(x_ND, weight_VD), temperature)


def logits(x_ND: Tensor, weight_VD: Tensor) -> Tensor:
    """Return W x, in float32 at least."""
    logits_NV = linear(x_ND, weight_VD)
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))


def at_temperature(logits_NV: Tensor, temperature: float) -> Tensor:
    """Return log softmax(logits / temperature)."""
    return (logits_NV if temperature == 1.0 else logits_NV / temperature).log_softmax(dim=-1)
