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
        self.query = nn.Linear(dim, inner, bias=False)
        self.key_value = nn.Linear(dim, 2 * inner, bias=False)
        self.output = nn.Linear(inner, dim, bias=False)

    def forward(
        self,
        asking_BTD: Activations,
        answering_BTD: Activations,
        *,
        state: AttentionState | None = None,
        resets_BT: Resets | None = None,
    ) -> tuple[Activations, AttentionState]:
        """Return what the asking path reads from the answering one, [B, T, D], and the ring of keys and values."""
        batch, num_tokens, _ = asking_BTD.shape
        query_BHTd = self._split(self.query(asking_BTD))
        key_BHTd, value_BHTd = (self._split(x) for x in self.key_value(answering_BTD).chunk(2, dim=-1))
        if state is None:
            state = self._empty_state(key_BHTd)
        keys = torch.cat([state.keys_BHWd, key_BHTd], dim=2)
        values = torch.cat([state.values_BHWd, value_BHTd], dim=2)
        documents = self._documents(state.valid_BW, num_tokens, resets_BT)

        read_BHTd = self._attend(query_BHTd, keys, values, documents)
        out_BTD = self.output(read_BHTd.transpose(1, 2).reshape(batch, num_tokens, -1))
        valid_BW = documents[:, -self.window :] == documents[:, -1:]
        return out_BTD, AttentionState(keys[:, :, -self.window :], values[:, :, -self.window :], valid_BW)

    def _attend(self, query_BHTd: Tensor, keys: Tensor, values: Tensor, documents: Tensor) -> Tensor:
        """Attend chunk by chunk; keys, values and documents start W slots before the first query."""
        num_tokens = query_BHTd.shape[2]
        chunk = min(num_tokens, self.window)
        missing = -num_tokens % chunk
        query_BHTd = F.pad(query_BHTd, (0, 0, 0, missing))
        keys, values = F.pad(keys, (0, 0, 0, missing)), F.pad(values, (0, 0, 0, missing))
        # The padded tail is the same document as the last token: every padded query sees at least itself.
        documents = torch.cat([documents, documents[:, -1:].expand(-1, missing)], dim=1)

        span = self.window + chunk
        queries = query_BHTd.unflatten(2, (-1, chunk)).transpose(1, 2)
        keys = keys.unfold(2, span, chunk).permute(0, 2, 1, 4, 3)
        values = values.unfold(2, span, chunk).permute(0, 2, 1, 4, 3)
        key_documents = documents.unfold(1, span, chunk)
        query_documents = key_documents[:, :, self.window :]
        same_document = query_documents.unsqueeze(-1) == key_documents.unsqueeze(-2)

        positions = torch.arange(span, device=keys.device)
        distance = positions[self.window :].unsqueeze(1) - positions
        mask = (same_document & (distance >= 0) & (distance < self.window)).unsqueeze(2)
        read = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return read.transpose(1, 2).flatten(2, 3)[:, :, :num_tokens]

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
