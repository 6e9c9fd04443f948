"""What the model's neurons do while it reads one text: spikes, rates, gates, and how surprised it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mambrane.data.tokenizer import StreamingDecoder, Tokenizer
from mambrane.engine.snapshot import evaluation_mode
from mambrane.layers.cost import FiringRates
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import BlockActivity, ModelOutput

SHOWN_TOKENS = 96
"""Tokens whose single spikes are kept for the raster."""


class BlockProbe(NamedTuple):
    """One block while it reads the text; None is what it does not have, as a block without neurons has nothing."""

    first_spikes: np.ndarray | None
    """Spikes of the first population in the shown tokens, [ticks, units], True where it fired."""
    second_spikes: np.ndarray | None
    """The same of the second population; None for a liquid cell."""
    first_rates: np.ndarray | None
    """Spikes per tick of each neuron of the first population over the whole text, [units]."""
    second_rates: np.ndarray | None
    gate: np.ndarray | None
    """Share of the spiking path in each head, mean over tokens, [heads]; None without a Mamba path."""


class Probe(NamedTuple):
    """The model while it reads the text."""

    blocks: tuple[BlockProbe, ...]
    pieces: tuple[str, ...]
    """The shown tokens as text; an unfinished character and the end of text are empty."""
    surprise_bits: np.ndarray
    """-log2 p of each shown token given those before it; the first has none (NaN)."""
    ticks_per_token: int
    num_tokens: int
    """Tokens over which the rates are means."""

    @property
    def firing_rates(self) -> list[FiringRates]:
        """Mean spikes per neuron and tick of both populations of each block."""
        both = ((block.first_rates, block.second_rates) for block in self.blocks)
        return [FiringRates(*(None if each is None else float(each.mean()) for each in rates)) for rates in both]

    @property
    def spiking_blocks(self) -> list[int]:
        """Numbers of the blocks that have neurons."""
        return [number for number, block in enumerate(self.blocks) if block.first_spikes is not None]


def probe_model(
    model: LanguageModel,
    tokens: Sequence[int] | np.ndarray,
    tokenizer: Tokenizer,
    *,
    shown_tokens: int = SHOWN_TOKENS,
) -> Probe:
    """Return what the model does while it reads the tokens as one sequence from the zero state.

    Args:
        model: the model; its mode and weights are left as they are.
        tokens: the text, starting with the end-of-text token; all of it counts for the rates.
        tokenizer: turns the shown tokens into text.
        shown_tokens: how many of the first tokens are kept spike by spike.
    """
    device = next(model.parameters()).device
    tokens_BT = torch.tensor(np.asarray(tokens, dtype=np.int64), device=device)[None]
    with evaluation_mode(model), torch.inference_mode():
        output = model(tokens_BT, resets_BT=tokens_BT == tokenizer.end_of_text)
    ticks = model.config.num_spike_steps
    shown = tokens_BT[0, :shown_tokens].tolist()
    return Probe(
        blocks=tuple(_probe_block(activity, ticks * len(shown)) for activity in output.activity),
        pieces=_pieces(shown, tokenizer),
        surprise_bits=_surprise(output, tokens_BT)[: len(shown)],
        ticks_per_token=ticks,
        num_tokens=tokens_BT.shape[1],
    )


def _probe_block(activity: BlockActivity, shown_ticks: int) -> BlockProbe:
    first, second, gate = activity.pre_spikes_BTS, activity.post_spikes_BTS, activity.gate
    return BlockProbe(
        first_spikes=None if first is None else _array(first[0, :shown_ticks] > 0),
        second_spikes=None if second is None else _array(second[0, :shown_ticks] > 0),
        first_rates=None if first is None else _array(first[0].float().mean(dim=0)),
        second_rates=None if second is None else _array(second[0].float().mean(dim=0)),
        gate=None if gate is None else _array(gate.float().reshape(-1, gate.shape[-1]).mean(dim=0)),
    )


def _surprise(output: ModelOutput, tokens_BT: torch.Tensor) -> np.ndarray:
    assert output.logits_BTV is not None, "a model that was given no targets returns logits"
    nats_T = F.cross_entropy(output.logits_BTV[0, :-1].float(), tokens_BT[0, 1:], reduction="none")
    return np.concatenate([[np.nan], _array(nats_T / np.log(2))])


def _pieces(tokens: Sequence[int], tokenizer: Tokenizer) -> tuple[str, ...]:
    decoder = StreamingDecoder(tokenizer)
    return tuple(decoder.push(token) for token in tokens)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
