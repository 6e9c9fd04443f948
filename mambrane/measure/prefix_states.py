"""States behind beginnings of texts that were read before: a text that begins alike is read from there.

A model remembers a state of constant size, so a long talk takes no more room here than a short one. States are kept
where pieces of CHUNK_TOKENS end, counted from the start of the text, which is where a text is cut anyway: what is
written is the same bit for bit, whether its beginning was read now or before.
"""

import hashlib
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from mambrane.measure.decoding import CHUNK_TOKENS, Decoder, decoder_for
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelState


class PrefixStates:
    """At most so many states; the one that was not used for longest goes first. Threads may share it.

    Example:
        >>> states = PrefixStates(most=32)  # doctest: +SKIP
        >>> decoder = read_text(model, tokens, tokenizer.end_of_text, states)  # doctest: +SKIP
    """

    def __init__(self, most: int) -> None:
        """Keep nothing yet; `most` 0 never does."""
        self._most = most
        self._states: OrderedDict[bytes, ModelState] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def longest(self, tokens: Sequence[int]) -> tuple[int, ModelState | None]:
        """Return how many tokens at the beginning have been read before, and the state behind them."""
        digests = _digests(tokens)
        with self._lock:
            for num_pieces in range(len(digests), 0, -1):
                if (state := self._states.get(digests[num_pieces - 1])) is not None:
                    self._states.move_to_end(digests[num_pieces - 1])
                    return num_pieces * CHUNK_TOKENS, state
        return 0, None

    def keep(self, tokens: Sequence[int], state: ModelState) -> None:
        """Keep the state behind tokens, whole pieces of them."""
        digest = _digests(tokens)[-1]
        with self._lock:
            self._states[digest] = state
            self._states.move_to_end(digest)
            while len(self._states) > self._most:
                self._states.popitem(last=False)


def read_text(
    model: LanguageModel, tokens: Sequence[int], end_of_text: int, states: PrefixStates | None = None
) -> Decoder:
    """Return a decoder that has read a text from its start, or from the longest beginning that is kept."""
    states = PrefixStates(0) if states is None else states
    num_read, state = states.longest(tokens[:-1])
    decoder = decoder_for(model, end_of_text, state)
    # At least one token is left to read: scores are not kept.
    num_whole = (len(tokens) - 1) // CHUNK_TOKENS * CHUNK_TOKENS
    if num_whole > num_read:
        decoder.read(tokens[num_read:num_whole])
        states.keep(tokens[:num_whole], decoder.state())
    decoder.read(tokens[num_whole:])
    return decoder


def _digests(tokens: Sequence[int]) -> list[bytes]:
    """Return a name for the beginning up to the end of each whole piece; texts that differ have other names."""
    running, digests = hashlib.sha256(), []
    for end in range(CHUNK_TOKENS, len(tokens) + 1, CHUNK_TOKENS):
        running.update(array("q", tokens[end - CHUNK_TOKENS : end]).tobytes())
        digests.append(running.digest())
    return digests
