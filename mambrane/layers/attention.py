"""Windowed causal cross-attention: queries of one path on keys and values of the other, over the last W tokens.

    out[t] = W_o sum_j softmax_j(q[t] . k[j] / sqrt(d)) v[j]        t - W < j <= t, same document

The state is a KV cache of the last W tokens: its size is constant.
There is no position code: both paths are recurrent, so what they carry already tells how long ago something was.
"""

from torch import Tensor, nn

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.cost import ComponentCost, macs, num_parameters
from mambrane.layers.linear import Linear
from mambrane.ops import KeyValueCache, windowed_attention


class WindowedCrossAttention(nn.Module):
    """Multi-head attention from one path to the other, causal within a window of W tokens."""

    def __init__(self, query_dim: int, key_dim: int, output_dim: int, *, inner: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query = Linear(query_dim, inner, bias=False)
        self.key_value = Linear(key_dim, 2 * inner, bias=False)
        self.output = Linear(inner, output_dim, bias=False)

    def forward(
        self,
        query_path_BTQ: Tensor,
        key_path_BTK: Tensor,
        *,
        state: KeyValueCache | None = None,
        resets_BT: Resets | None = None,
    ) -> tuple[Activations, KeyValueCache]:
        """Return what the first path [B, T, Q] reads of the second [B, T, K], [B, T, D], and the second's KV cache."""
        query_BTI = self.query(query_path_BTQ)
        if key_path_BTK.device.type == "cpu":
            key_BTI, value_BTI = self.key_value.parts(key_path_BTK, [self.output.in_features] * 2)
        else:
            # There keys and values are copied into windows anyway, and one product is faster than two.
            key_BTI, value_BTI = self.key_value(key_path_BTK).chunk(2, dim=-1)
        read_BTI, cache = windowed_attention(
            query_BTI, key_BTI, value_BTI, heads=self.heads, window=self.window, state=state, resets_BT=resets_BT
        )
        return self.output(read_BTI), cache

    def cost(self) -> ComponentCost:
        """Return what the attention costs with a full window."""
        numbers = 2 * self.window * self.query.out_features
        return ComponentCost(
            name="cross-attention",
            parameters=num_parameters(self),
            dense_macs_per_token=macs(self.query, self.key_value, self.output) + numbers,
            state_numbers=numbers,
        )
