"""Reading one text token by token, at constant memory and at constant cost per token: what writing and scoring need."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from mambrane.engine.snapshot import evaluation_mode
from mambrane.kernels.threads import one_thread_if_small
from mambrane.measure.sampling import Sampling, draw_token
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelState
from mambrane.models.token_program.program import TokenProgram, why_no_program

LONG_TOKENS = 64
"""More tokens than that the model reads at once in less time than one after the other."""
CHUNK_TOKENS = 256
"""Tokens that are read at once; bounds the memory of a long text."""


@runtime_checkable
class Decoder(Protocol):
    """One text, read from its start; reading the end-of-text token forgets what came before."""

    def read(self, tokens: Sequence[int]) -> None:
        """Read at least one token."""
        ...

    def nats(self, tokens: Sequence[int]) -> list[float]:
        """Read tokens and return what each cost, -ln p, given all that was read before it; at least one was."""
        ...

    def scores(self) -> Tensor:
        """Return the scores of the next token, [V], on the CPU, once something was read."""
        ...

    def draw(self, sampling: Sampling, generator: torch.Generator, num_tokens: int) -> int:
        """Draw the next token among the first so many, and do not read it.

        One number is taken from the generator, and none at temperature 0.
        """
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

    def read(self, tokens: Sequence[int]) -> None:
        """See Decoder."""
        for logits_TV in self._logits(tokens):
            self._scores = logits_TV[-1]

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

    def draw(self, sampling: Sampling, generator: torch.Generator, num_tokens: int) -> int:
        """See Decoder."""
        return draw_token(self.scores()[:num_tokens], sampling, generator)

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


class ProgramDecoder:
    """Reads a text token by token with the whole model as one compiled call; what is long, with the model itself."""

    def __init__(self, model: LanguageModel, end_of_text: int, state: ModelState | None = None) -> None:
        self._model, self._end_of_text = model, end_of_text
        self._program = TokenProgram(model)
        if state is not None:
            self._program.load(state)

    def read(self, tokens: Sequence[int]) -> None:
        """See Decoder."""
        if len(tokens) > LONG_TOKENS:
            self._by_model(tokens)
        else:
            for token in tokens:
                self._read_one(token)

    def scores(self) -> Tensor:
        """See Decoder."""
        return torch.from_numpy(self._program.scores.copy())

    def nats(self, tokens: Sequence[int]) -> list[float]:
        """See Decoder."""
        if len(tokens) > LONG_TOKENS:
            return self._by_model(tokens)
        nats = []
        for token in tokens:
            nats.append(-self._program.log_probability(token))
            self._read_one(token)
        return nats

    def draw(self, sampling: Sampling, generator: torch.Generator, num_tokens: int) -> int:
        """See Decoder."""
        if sampling.temperature == 0 or sampling.top_k or sampling.top_p < 1:
            return draw_token(self.scores()[:num_tokens], sampling, generator)
        point = torch.rand((), generator=generator, dtype=torch.float64).item()
        return self._program.draw(sampling.temperature, point, num_tokens)

    def state(self) -> ModelState:
        """See Decoder."""
        token_11 = torch.zeros(1, 1, dtype=torch.long)
        with torch.inference_mode(), evaluation_mode(self._model):
            return self._program.state_like(self._model(token_11).state)

    def copy(self) -> "ProgramDecoder":
        """See Decoder."""
        other = object.__new__(ProgramDecoder)
        other._model, other._end_of_text, other._program = self._model, self._end_of_text, self._program.copy()
        return other

    def _read_one(self, token: int) -> None:
        if token == self._end_of_text:
            self._program.forget()
        self._program.read(token)

    def _by_model(self, tokens: Sequence[int]) -> list[float]:
        """Read tokens with the model, which reads many at once; return what each cost."""
        decoder = ModelDecoder(self._model, self._end_of_text, self.state())
        decoder._scores = self.scores()
        nats = decoder.nats(tokens)
        self._program.load(decoder.state())
        self._program.scores[:] = decoder.scores().numpy()
        return nats


def decoder_for(model: LanguageModel, end_of_text: int, state: ModelState | None = None) -> Decoder:
    """Return the fastest decoder that a model has, at the start of a text or where a state stands."""
    kind = ModelDecoder if why_no_program(model) else ProgramDecoder
    return kind(model, end_of_text, state)


def bits(nats: float) -> float:
    """Return nats as bits."""
    return nats / math.log(2)
