"""Windowed causal attention: each token asks the last W tokens. Formula in `reference.py`."""

from jaxtyping import Float
from torch import Tensor

from mambrane.core.shapes import Resets
from mambrane.kernels.arguments import require_shape, require_tokens
from mambrane.ops.dispatch import Backend, Operation
from mambrane.ops.windowed_attention.kv_cache import KeyValueCache, append_to_cache

__all__ = ["KeyValueCache", "windowed_attention"]

_run = Operation("windowed_attention")


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

    Raises:
        ValueError: shapes that do not belong together.

    Example:
        >>> import torch
        >>> zero, value = torch.zeros(1, 3, 1), torch.tensor([[[2.0], [4.0], [8.0]]])
        >>> read, state = windowed_attention(zero, zero, value, heads=1, window=2)
        >>> read.flatten().tolist(), state.values_BWI.flatten().tolist()
        ([2.0, 3.0, 6.0], [4.0, 8.0])
    """
    _check(query_BTI, key_BTI, value_BTI, heads, window, state, resets_BT)
    read_BTI = _run(
        backend, query_BTI, key_BTI, value_BTI, heads=heads, window=window, state=state, resets_BT=resets_BT
    )
    return read_BTI, append_to_cache(state, key_BTI, value_BTI, window, resets_BT)


def _check(
    query_BTI: Tensor,
    key_BTI: Tensor,
    value_BTI: Tensor,
    heads: int,
    window: int,
    state: KeyValueCache | None,
    resets_BT: Tensor | None,
) -> None:
    batch, _, inner = query_BTI.shape
    require_tokens("query_BTI", query_BTI)
    require_shape("key_BTI", key_BTI, query_BTI.shape)
    require_shape("value_BTI", value_BTI, query_BTI.shape)
    require_shape("resets_BT", resets_BT, query_BTI.shape[:2])
    if state is not None:
        require_shape("keys_BWI", state.keys_BWI, (batch, window, inner))
        require_shape("values_BWI", state.values_BWI, (batch, window, inner))
        require_shape("valid_BW", state.valid_BW, (batch, window))
    if window < 1 or heads < 1 or inner % heads:
        raise ValueError(
            f"{heads} heads and a window of {window} for {inner} numbers; wanted a divisor, and at least 1"
        )
