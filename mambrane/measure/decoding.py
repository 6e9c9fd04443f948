"""Reading one text token by token, at constant memory and at constant cost per token: what writing and scoring need."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.engine.snapshot import evaluation_mode
from mambrane.kernels.threads import one_thread_if_small
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelState

CHUNK_TOKENS = 256
"""Tokens that are read at once; bounds the memory of a long text."""


@runtime_checkable
class Decoder(Protocol):
    """One text, read from its start; reading the end-of-text token forgets what came before."""

    def read(self, tokens: Sequence[int]) -> Tensor:
        """Read at least one token and return the scores of the next one, [V], on the CPU."""
        ...

    def nats(self, tokens: Sequence[int]) -> list[float]:
        """Read tokens and return what each cost, -ln p, given all that was read before it; at least one was."""
        ...

    def scores(self) -> Tensor:
        """Return the scores of the next token, [V], once something was read."""
        ...

    def state(self) -> ModelState:
        """Return what is remembered."""
        ...

    def copy(self) -> "Decoder":
        """Return a decoder of its own that stands where this one stands."""
        ...


class ModelDecoder:
    """Reads a text with a model, in chunks."""

    def __init__(self, model: LanguageModel, end_of_text: int, state: ModelState | None = None) -> None:
        self._model, self._end_of_text, self._state = model, end_of_text, state
        self._scores: Tensor | None = None
        self._device = next(model.parameters()).device
        self._num_products = sum(weight.numel() for weight in model.parameters())

    def read(self, tokens: Sequence[int]) -> Tensor:
        """See Decoder."""
        for logits_TV in self._logits(tokens):
            self._scores = logits_TV[-1]
        return self.scores()

    def scores(self) -> Tensor:
        """See Decoder."""
        assert self._scores is not None, "something was read"
        return self._scores

    def nats(self, tokens: Sequence[int]) -> list[float]:
        """See Decoder."""
        nats: list[float] = []
        position = 0
        for logits_TV in self._logits(tokens):
            targets_T = torch.tensor(tokens[position : position + len(logits_TV)])
            before_TV = torch.cat([self.scores()[None], logits_TV[:-1]])
            nats += F.cross_entropy(before_TV, targets_T, reduction="none").tolist()
            self._scores = logits_TV[-1]
            position += len(logits_TV)
        return nats

    def state(self) -> ModelState:
        """See Decoder."""
        assert self._state is not None, "something was read"
        return self._state

    def copy(self) -> "ModelDecoder":
        """See Decoder."""
        other = ModelDecoder(self._model, self._end_of_text, self._state)
        other._scores = self._scores
        return other

    def _logits(self, tokens: Sequence[int]) -> Iterator[Tensor]:
        """Yield the logits [T, V] of each chunk, and remember the state after it."""
        for start in range(0, len(tokens), CHUNK_TOKENS):
            chunk_1T = torch.tensor([list(tokens[start : start + CHUNK_TOKENS])], device=self._device)
            resets_1T = chunk_1T == self._end_of_text
            work = one_thread_if_small(self._num_products * chunk_1T.shape[1])
            with torch.inference_mode(), evaluation_mode(self._model), work:
                output = self._model(chunk_1T, state=self._state, resets_BT=resets_1T if resets_1T.any() else None)
            self._state = output.state
            assert output.logits_BTV is not None, "a model that was given no targets returns logits"
            yield output.logits_BTV[0].float().cpu()


def bits(nats: float) -> float:
    """Return nats as bits."""
    return nats / math.log(2)
