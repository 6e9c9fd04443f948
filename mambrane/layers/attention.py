"""Windowed causal cross-attention: one path asks, the other answers, over the last W tokens.

    out[t] = W_o sum_j softmax_j(q[t] . k[j] / sqrt(d)) v[j]        t - W < j <= t, same document

The queries are cut into chunks of W tokens; each chunk sees its own keys and the W before it, so time and memory grow
linearly with T. The state is a ring of the last W keys and values: constant for each generated token.
There is no position code: both paths are recurrent, so what they carry already tells how long ago something was.
Source: Beltagy et al. 2020, Longformer, arXiv 2004.05150, section 3 (sliding window).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambrane.core.shapes import Activations, Resets
from mambrane.layers.linear import Linear


class AttentionState(NamedTuple):
    """The last W keys and values, oldest first."""

    keys_BHWd: Tensor
    values_BHWd: Tensor
    valid_BW: Tensor
    """True where the slot holds a token of the current document."""


class WindowedCrossAttention(nn.Module):
    """Multi-head attention from one path to the other, causal within a window of W tokens."""

    def __init__(self, dim: int, *, inner: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query = Linear(dim, inner, bias=False)
        self.key_value = Linear(dim, 2 * inner, bias=False)
        self.output = Linear(inner, dim, bias=False)

    def forward(
        self,
        asking_BTD: Activations,
        answering_BTD: Activations,
        *,
        state: AttentionState | None = None,
        resets_BT: Resets | None = None,
    ) -> tuple[Activations, AttentionState]:
        """Return what the asking path reads from the answering one, [B, T, D], and the ring of keys and values."""
        num_tokens = asking_BTD.shape[1]
        query_BHTd = self._split(self.query(asking_BTD))
        key_BHTd, value_BHTd = (self._split(x) for x in self.key_value(answering_BTD).chunk(2, dim=-1))
        # A short text from the start has an empty ring before it: nothing there to attend to.
        num_empty = self.window if state is None and num_tokens <= self.window else 0
        if state is None:
            state = self._empty_state(key_BHTd)
        keys = torch.cat([state.keys_BHWd, key_BHTd], dim=2)
        values = torch.cat([state.values_BHWd, value_BHTd], dim=2)
        documents = self._documents(state.valid_BW, num_tokens, resets_BT)

        read_BTD = self._attend(query_BHTd, keys[:, :, num_empty:], values[:, :, num_empty:], documents[:, num_empty:])
        valid_BW = documents[:, -self.window :] == documents[:, -1:]
        ring = AttentionState(keys[:, :, -self.window :], values[:, :, -self.window :], valid_BW)
        return self.output(read_BTD), ring

    def _attend(self, query_BHTd: Tensor, keys: Tensor, values: Tensor, documents: Tensor) -> Tensor:
        """Attend chunk by chunk; keys, values and documents end with the last query and may start before the first."""
        batch, _, num_tokens, _ = query_BHTd.shape
        chunk = min(num_tokens, self.window)
        missing = -num_tokens % chunk
        query_BHTd, keys, values = (F.pad(x, (0, 0, 0, missing)) for x in (query_BHTd, keys, values))
        # The padded tail is the same document as the last token: every padded query sees at least itself.
        documents = torch.cat([documents, documents[:, -1:].expand(-1, missing)], dim=1)

        # Chunks become rows of the batch: the fused kernels take four dimensions.
        queries = query_BHTd.unflatten(2, (-1, chunk)).transpose(1, 2).flatten(0, 1)
        keys, values = (self._spans(x, chunk).transpose(1, 2).flatten(0, 1) for x in (keys, values))
        key_documents = self._spans(documents[:, None, :, None], chunk)[:, 0, :, :, 0].flatten(0, 1)
        same_document = key_documents[:, -chunk:].unsqueeze(2) == key_documents.unsqueeze(1)
        positions = torch.arange(keys.shape[2], device=keys.device)
        distance = positions[-chunk:].unsqueeze(1) - positions
        mask = (same_document & (distance >= 0) & (distance < self.window)).unsqueeze(1)
        read = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return read.transpose(1, 2).reshape(batch, -1, self.output.in_features)[:, :num_tokens]

    def _spans(self, x: Tensor, chunk: int) -> Tensor:
        """Return what each chunk may see: [B, H, slots, d] -> [B, H, chunks, window + chunk, d]."""
        if x.shape[2] <= self.window + chunk:
            return x.unsqueeze(2)
        blocks = x.unflatten(2, (-1, self.window))
        return torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3)

    def _documents(self, valid_BW: Tensor, num_tokens: int, resets_BT: Resets | None) -> Tensor:
        """Number the documents of the ring (0, or -1 where a slot holds nothing) and of the new tokens."""
        ring = valid_BW.long() - 1
        fresh = ring.new_zeros(ring.shape[0], num_tokens) if resets_BT is None else resets_BT.long().cumsum(dim=1)
        return torch.cat([ring, fresh], dim=1)

    def _empty_state(self, key_BHTd: Tensor) -> AttentionState:
        batch, heads, _, head_dim = key_BHTd.shape
        ring = key_BHTd.new_zeros(batch, heads, self.window, head_dim)
        return AttentionState(ring, ring, torch.zeros(batch, self.window, dtype=torch.bool, device=ring.device))

    def _split(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (self.heads, -1)).transpose(1, 2)
