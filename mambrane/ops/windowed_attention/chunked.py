"""Windowed attention in chunks of queries, each handed to PyTorch's fused attention: the fast backend on GPUs.

The formula is in `reference.py`. The queries are cut into chunks of W tokens; each chunk sees its own keys and the
W before it, so time and memory grow linearly with T.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.ops.windowed_attention.kv_cache import KeyValueCache, empty_cache, number_documents


def windowed_attention_chunked(
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
    num_tokens = query_BTI.shape[1]
    is_fresh = state is None
    if state is None:
        # A short text from the start has nothing before it to attend to.
        state = empty_cache(key_BTI, window if num_tokens > window else 0)
    keys = torch.cat([state.keys_BWI.to(key_BTI.dtype), key_BTI], dim=1)
    values = torch.cat([state.values_BWI.to(value_BTI.dtype), value_BTI], dim=1)
    query, keys, values = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query_BTI, keys, values))
    if is_fresh and resets_BT is not None:
        documents = F.pad(resets_BT.cumsum(dim=1), (state.valid_BW.shape[1], 0), value=-1)
    else:
        documents = number_documents(state.valid_BW, num_tokens, resets_BT)

    chunk = min(num_tokens, window)
    missing = -num_tokens % chunk
    if missing:
        query, keys, values = (F.pad(x, (0, 0, 0, missing)) for x in (query, keys, values))
        # The padded tail is the same document as the last token: every padded query sees at least itself.
        documents = torch.cat([documents, documents[:, -1:].expand(-1, missing)], dim=1)

    # Chunks become rows of the batch: the fused kernels take four dimensions.
    query = query.unflatten(2, (-1, chunk)).transpose(1, 2).flatten(0, 1)
    keys, values = (_spans(x, chunk, window).transpose(1, 2).flatten(0, 1) for x in (keys, values))
    key_documents = _spans(documents[:, None, :, None], chunk, window)[:, 0, :, :, 0].flatten(0, 1)
    same_document = key_documents[:, -chunk:].unsqueeze(2) == key_documents.unsqueeze(1)
    positions = torch.arange(keys.shape[2], device=keys.device)
    distance = positions[-chunk:].unsqueeze(1) - positions
    mask = (same_document & (distance >= 0) & (distance < window)).unsqueeze(1)
    read = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    read_BTI = read.transpose(1, 2).reshape(query_BTI.shape[0], num_tokens + missing, query_BTI.shape[2])
    return read_BTI[:, :num_tokens]


def _spans(x: Tensor, chunk: int, window: int) -> Tensor:
    """Return what each chunk may see: [B, H, slots, d] -> [B, H, chunks, window + chunk, d]."""
    if x.shape[2] <= window + chunk:
        return x.unsqueeze(2)
    blocks = x.unflatten(2, (-1, window))
    return torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3)
