"""A text that is read and written in turns: several continuations, stop texts, and a state to go on from next week.

The token drawn last has not been read yet; it is kept with the state and read first when the text goes on.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from mambrane.core.errors import UserError
from mambrane.data.tokenizer import StreamingDecoder, Tokenizer
from mambrane.measure.decoding import Decoder
from mambrane.measure.sampling import Sampling

EndedBy = Literal["max_tokens", "end_of_text", "stop"]


class Writing:
    """One continuation, written as it is iterated over.

    Example:
        >>> writing = Writing(decoder, tokenizer, [256], Sampling(), generator, max_tokens=9)  # doctest: +SKIP
        >>> text, why = "".join(writing), writing.ended_by  # doctest: +SKIP
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        unread: Sequence[int],
        sampling: Sampling,
        generator: torch.Generator,
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
    ) -> None:
        """Prepare; nothing is read before the first piece is asked for.

        Args:
            decoder: the text so far; read on in place.
            tokenizer: of the model.
            unread: tokens to read first; none where the decoder has read all that there is.
            sampling: how tokens are drawn.
            generator: a CPU generator; the same state writes the same text.
            max_tokens: tokens to write at most.
            stop: texts before which the continuation ends, whichever comes first.

        Raises:
            UserError: an empty stop text, or no tokens to write.
        """
        if max_tokens < 1:
            raise UserError(f"--max-tokens {max_tokens}", wanted="at least 1", way_out="--max-tokens 200")
        if "" in stop:
            raise UserError("--stop with an empty text", wanted="a text to stop at", way_out="leave --stop out")
        self._decoder, self._tokenizer = decoder, tokenizer
        self.unread = list(unread)
        """Tokens that belong to the text and have not been read yet."""
        self._sampling, self._generator = sampling, generator
        self._max_tokens, self._stop = max_tokens, tuple(stop)
        self.num_tokens = 0
        """Tokens drawn so far."""
        self.ended_by: EndedBy = "max_tokens"
        """Why it ended, once it has."""

    def __iter__(self) -> Iterator[str]:
        """Yield the text piece by piece, never a torn character, and nothing that may be part of a stop text."""
        waiting = ""
        for piece in self._pieces():
            waiting += piece
            found = [place for stop in self._stop if (place := waiting.find(stop)) >= 0]
            if found:
                self.ended_by = "stop"
                yield waiting[: min(found)]
                return
            held = max((_overlap(waiting, stop) for stop in self._stop), default=0)
            yield waiting[: len(waiting) - held]
            waiting = waiting[len(waiting) - held :]
        yield waiting

    def _pieces(self) -> Iterator[str]:
        characters = StreamingDecoder(self._tokenizer)
        while self.num_tokens < self._max_tokens:
            if self.unread:
                self._decoder.read(self.unread)
            # Rows of the head that no token has are never drawn.
            token = self._decoder.draw(self._sampling, self._generator, self._tokenizer.vocab_size)
            self.unread = [token]
            if token == self._tokenizer.end_of_text:
                self.ended_by = "end_of_text"
                break
            self.num_tokens += 1
            yield characters.push(token)
        yield characters.finish()


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of the text are the beginning of a stop text."""
    longest = min(len(stop) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
