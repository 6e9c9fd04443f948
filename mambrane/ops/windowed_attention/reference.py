"""Windowed causal attention, in plain PyTorch: the definition that faster backends must match.

    read[t] = sum over j of softmax_j(q[t] . k[j] / sqrt(d)) v[j]        t - W < j <= t, same document

for each of H heads with d numbers: head h owns the numbers h d, ..., (h + 1) d - 1 of queries, keys and values. Keys
and values before the first token stand in a cache of W slots.
Source: Beltagy et al. 2020, Longformer, arXiv 2004.05150, section 3 (sliding window).
"""

import math

import torch
from torch import Tensor

from mambrane.kernels.arguments import compute_dtype
from mambrane.kernels.autocast import without_autocast
from mambrane.ops.windowed_attention.kv_cache import KeyValueCache, empty_cache, number_documents


def windowed_attention_reference(
    query_BTI: Tensor,
    key_BTI: Tensor,
    value_BTI: Tensor,
    *,
    heads: int,
    window: int,
    state: KeyValueCache | None,
    resets_BT: Tensor | None,
) -> Tensor:
    """Return what the queries read; arguments as in `mambrane.ops.windowed_attention.windowed_attention`."""
    inner, num_tokens = compute_dtype(query_BTI), query_BTI.shape[1]
    state = empty_cache(key_BTI, 0) if state is None else state
    query_BTHd, key_BPHd, value_BPHd = (
        each.to(inner).unflatten(-1, (heads, -1))
        for each in (
            query_BTI,
            torch.cat([state.keys_BWI, key_BTI], dim=1),
            torch.cat([state.values_BWI, value_BTI], dim=1),
        )
    )
    document_BP = number_documents(state.valid_BW, num_tokens, resets_BT)
    position_P = torch.arange(document_BP.shape[1], device=query_BTI.device)
    distance_TP = position_P[-num_tokens:, None] - position_P
    is_seen_BTP = (
        (document_BP[:, -num_tokens:, None] == document_BP[:, None]) & (distance_TP >= 0) & (distance_TP < window)
    )
    # Autocast would run the products in bfloat16.
    with without_autocast(query_BTI.device):
        score_BHTP = torch.einsum("bthd,bphd->bhtp", query_BTHd, key_BPHd) / math.sqrt(query_BTHd.shape[-1])
        weight_BHTP = score_BHTP.masked_fill(~is_seen_BTP[:, None], -torch.inf).softmax(dim=-1)
        read_BTHd = torch.einsum("bhtp,bphd->bthd", weight_BHTP, value_BPHd)
    return read_BTHd.flatten(2).to(query_BTI.dtype)
