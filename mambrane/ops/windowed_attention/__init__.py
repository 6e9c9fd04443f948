"""Windowed causal attention: each token asks the last W tokens. Formula in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.ops.checks import Arguments, refuse, require_count, require_kind
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.windowed_attention.kv_cache import KeyValueCache, append_to_cache

__all__ = ["KeyValueCache", "windowed_attention"]

_run = Operation("windowed_attention")
_check = Arguments(
    "windowed_attention",
    query_BTI="B T I",
    key_BTI="B T I",
    value_BTI="B T I",
    resets_BT="bool B T?",
    keys_BWI="B W I?",
    values_BWI="B W I?",
    valid_BW="bool B W?",
)


def windowed_attention(
    query_BTI: Float[Tensor, "B T I"],
    key_BTI: Float[Tensor, "B T I"],
    value_BTI: Float[Tensor, "B T I"],
    *,
    heads: int,
    window: int,
    state: KeyValueCache | None = None,
    resets_BT: Resets | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T I"], KeyValueCache]:
    """Attend from each token to the last W; gradients flow to queries, keys, values and the cache's keys and values.

    Args:
        query_BTI: what each token asks; head h owns numbers h I / heads, ..., (h + 1) I / heads - 1.
        key_BTI: what each token is found by.
        value_BTI: what each token answers.
        heads: heads that attend apart; a divisor of I.
        window: tokens that a query sees: itself and the W - 1 before it.
        state: keys and values of the W tokens before the first; nothing where not given.
        resets_BT: True where a document starts: nothing before is seen from this token on.
        backend: "auto", or one by name; see `mambrane.ops.dispatch`.

    Returns:
        What each query reads, [B, T, I] in the type of the queries, and the cache after the last token.

    Example:
        >>> import torch
        >>> zero, value = torch.zeros(1, 3, 1), torch.tensor([[[2.0], [4.0], [8.0]]])
        >>> read, state = windowed_attention(zero, zero, value, heads=1, window=2)
        >>> read.flatten().tolist(), state.values_BWI.flatten().tolist()
        ([2.0, 3.0, 6.0], [4.0, 8.0])
    """
    if state is not None:
        require_kind("windowed_attention", "state", state, KeyValueCache)
    sizes = _check(query_BTI, key_BTI, value_BTI, resets_BT, *((None, None, None) if state is None else state))
    require_count("windowed_attention", "heads", heads)
    require_count("windowed_attention", "window", window)
    if sizes["I"] % heads:
        refuse("windowed_attention", f"{heads} heads for {sizes['I']} numbers", "a divisor")
    if state is not None and sizes["W"] != window:
        refuse("windowed_attention", f"a state of {sizes['W']} tokens", f"{window}, as the window says")
    read_BTI = _run(
        backend, query_BTI, key_BTI, value_BTI, heads=heads, window=window, state=state, resets_BT=resets_BT
    )
    return read_BTI, append_to_cache(state, key_BTI, value_BTI, window, resets_BT)
