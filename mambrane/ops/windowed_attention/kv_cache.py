"""What windowed attention remembers between two calls: the last W keys and values (a KV cache)."""

from typing import NamedTuple

import torch
from torch import Tensor

from mambrane.core.shapes import Resets


class KeyValueCache(NamedTuple):
    """The last W keys and values, oldest first; its size is constant."""

    keys_BWI: Tensor
    values_BWI: Tensor
    valid_BW: Tensor
    """True where the slot holds a token of the current document: the newest slots, or none."""


def empty_cache(key_BTI: Tensor, num_slots: int) -> KeyValueCache:
    """Return a cache that holds nothing, in the type of the keys."""
    slots_BWI = key_BTI.new_zeros(key_BTI.shape[0], num_slots, key_BTI.shape[2])
    return KeyValueCache(
        slots_BWI, slots_BWI, torch.zeros(slots_BWI.shape[:2], dtype=torch.bool, device=key_BTI.device)
    )


def append_to_cache(
    state: KeyValueCache | None, key_BTI: Tensor, value_BTI: Tensor, window: int, resets_BT: Resets | None
) -> KeyValueCache:
    """Return the cache after T more tokens."""
    if state is None and key_BTI.shape[1] >= window:
        # What comes from the new tokens alone is not joined to an empty cache first.
        newest = slice(key_BTI.shape[1] - window, None)
        return KeyValueCache(key_BTI[:, newest], value_BTI[:, newest], _in_last_document(key_BTI, resets_BT)[:, newest])
    state = empty_cache(key_BTI, window) if state is None else state
    document_BP = number_documents(state.valid_BW, key_BTI.shape[1], resets_BT)[:, -window:]
    return KeyValueCache(
        _newest(state.keys_BWI, key_BTI), _newest(state.values_BWI, value_BTI), document_BP == document_BP[:, -1:]
    )


def _in_last_document(key_BTI: Tensor, resets_BT: Resets | None) -> Tensor:
    """Return where a token is of the same document as the last one, [B, T]."""
    if resets_BT is None:
        return torch.ones(key_BTI.shape[:2], dtype=torch.bool, device=key_BTI.device)
    document_BT = resets_BT.cumsum(dim=1)
    return document_BT == document_BT[:, -1:]


def number_documents(valid_BW: Tensor, num_tokens: int, resets_BT: Resets | None) -> Tensor:
    """Number the documents of the slots (0, or -1 where one holds nothing) and of the new tokens; shape [B, W + T]."""
    cached_BW = valid_BW.long() - 1
    fresh_BT = cached_BW.new_zeros(cached_BW.shape[0], num_tokens) if resets_BT is None else resets_BT.cumsum(dim=1)
    return torch.cat([cached_BW, fresh_BT], dim=1)


def _newest(cached_BWI: Tensor, x_BTI: Tensor) -> Tensor:
    num_slots, num_tokens = cached_BWI.shape[1], x_BTI.shape[1]
    if num_tokens >= num_slots:
        return x_BTI[:, num_tokens - num_slots :]
    return torch.cat([cached_BWI[:, num_tokens:], x_BTI], dim=1)
