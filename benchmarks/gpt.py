"""A small GPT for comparison, trained by the same engine: pre-norm, learned positions, tied head, GELU, no dropout.

Sizes of nanoGPT's published CPU run: 4 layers, 4 heads, width 128, context 64 (karpathy/nanoGPT, README).
Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambrane.core.shapes import Resets, Tokens


class GptOutput(NamedTuple):
    """What the engine reads of a model's output."""

    logits_BTV: Tensor
    activity: tuple[()] = ()


class Gpt(nn.Module):
    """Decoder-only transformer over at most `context` tokens."""

    def __init__(
        self, vocab_size: int, *, dim: int, num_layers: int, heads: int, context: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.position = nn.Embedding(context, dim)
        self.blocks = nn.ModuleList(GptBlock(dim, heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim, bias=False)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    std = 0.02 / math.sqrt(2 * num_layers) if name.endswith("output.weight") else 0.02
                    parameter.normal_(0.0, std, generator=generator)

    def forward(self, tokens_BT: Tokens, *, resets_BT: Resets | None = None) -> GptOutput:
        """Return logits; a document boundary is an ordinary token here."""
        positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        x_BTD = self.embedding(tokens_BT) + self.position(positions)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return GptOutput(F.linear(self.norm(x_BTD), self.embedding.weight))


class GptBlock(nn.Module):
    """Attention, then a perceptron of four times the width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim, bias=False)
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.attention_output = nn.Linear(dim, dim, bias=False)
        self.perceptron_norm = nn.LayerNorm(dim, bias=False)
        self.hidden = nn.Linear(dim, 4 * dim, bias=False)
        self.perceptron_output = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the residual stream after this block."""
        batch, num_tokens, dim = x_BTD.shape
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in self.query_key_value(self.attention_norm(x_BTD)).chunk(3, dim=-1)
        )
        read = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x_BTD = x_BTD + self.attention_output(read.transpose(1, 2).reshape(batch, num_tokens, dim))
        return x_BTD + self.perceptron_output(F.gelu(self.hidden(self.perceptron_norm(x_BTD))))
