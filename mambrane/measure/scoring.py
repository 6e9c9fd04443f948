"""How surprising each line of a text is, as it comes: bits per byte, at constant memory, for ever.

All lines are one document: the model reads on, so a line is cheap that repeats, and dear that is new. A line is made
tokens by itself, its end included.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mambrane.data.tokenizer import Tokenizer
from mambrane.measure.decoding import Decoder, bits

PIECE_BYTES = 1 << 16
"""A longer line is read in pieces of this size, and is still one line."""


class LineScore(NamedTuple):
    """What a line cost."""

    line: int
    """Number of the line, from 1."""
    num_bytes: int
    """Its length, the end of the line included."""
    bits: float
    """What the model needed to predict it."""
    text: str
    """Its beginning, without the end of the line."""

    @property
    def bits_per_byte(self) -> float:
        """Surprise; about 8 for noise, about 1 for what was learned well."""
        return self.bits / self.num_bytes


SHOWN_CHARACTERS = 200


def score_lines(decoder: Decoder, tokenizer: Tokenizer, pieces: Iterable[bytes]) -> Iterator[LineScore]:
    """Yield the score of each line as soon as it has ended.

    Args:
        decoder: where the text starts; read on in place.
        tokenizer: of the model.
        pieces: lines, or parts of lines where one is long; a line ends where a piece ends with a newline.
    """
    decoder.read([tokenizer.end_of_text])
    number, num_bytes, total, shown = 1, 0, 0.0, b""
    for piece in pieces:
        tokens = tokenizer.encode(piece).tolist()
        total += sum(decoder.nats(tokens)) if tokens else 0.0
        num_bytes += len(piece)
        shown += piece[: max(4 * SHOWN_CHARACTERS - len(shown), 0)]
        if piece.endswith(b"\n"):
            yield LineScore(number, num_bytes, bits(total), _shown(shown))
            number, num_bytes, total, shown = number + 1, 0, 0.0, b""
    if num_bytes:
        yield LineScore(number, num_bytes, bits(total), _shown(shown))


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace").rstrip("\r\n")[:SHOWN_CHARACTERS]
