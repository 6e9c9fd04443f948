"""Text to token numbers and back. The default needs no training: a token is a byte.

    ids 0..255 bytes, 256 END_OF_TEXT, vocabulary 257

Every document is stored as END_OF_TEXT followed by its tokens: END_OF_TEXT is separator, start symbol, and the
target that ends a document.
"""

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.ordinary_files import read_ordinary
from mambrane.data.cache import hash_of
from mambrane.data.config import check_tokenizer_spec
from mambrane.data.documents import Texts, encoded_parts


@runtime_checkable
class Tokenizer(Protocol):
    """What the rest of the system knows of a tokenizer."""

    name: str
    vocab_size: int
    end_of_text: int

    def encode(self, text: bytes) -> np.ndarray:
        """Return the token numbers of UTF-8 text, without END_OF_TEXT."""
        ...

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        """Return the bytes of the tokens; END_OF_TEXT has none."""
        ...

    def decode_next(self, previous: int | None, token: int) -> bytes:
        """Return the bytes that `token` adds after `previous` (None: at the start)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_tokenizer` needs, as JSON."""
        ...


class BytesTokenizer:
    """One token a byte: exact for any bytes."""

    name = "bytes"
    vocab_size = 257
    end_of_text = 256

    def encode(self, text: bytes) -> np.ndarray:
        """Return the bytes as numbers."""
        return np.frombuffer(text, dtype=np.uint8).astype(np.uint16)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        """Return the bytes; END_OF_TEXT has none."""
        numbers = np.asarray(tokens, dtype=np.int64)
        return numbers[numbers < 256].astype(np.uint8).tobytes()

    def decode_next(self, previous: int | None, token: int) -> bytes:
        """Return the byte; the one before does not matter."""
        return self.decode([token])

    def state_dict(self) -> dict[str, Any]:
        """Return the kind: there is nothing else to remember."""
        return {"kind": "bytes"}


class StreamingDecoder:
    """Turns tokens into text as they come, never a torn character: its first bytes wait for the last."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._previous: int | None = None

    def push(self, token: int) -> str:
        """Return the text that is complete with this token, often one piece, sometimes none."""
        piece = self._tokenizer.decode_next(self._previous, token)
        self._previous = token
        return self._characters.decode(piece)

    def finish(self) -> str:
        """Return what is left; bytes that never became a character turn into U+FFFD."""
        return self._characters.decode(b"", final=True)


def build_tokenizer(spec: str, texts: Texts, *, texts_hash: str, cache_dir: Path, events: EventLog) -> Tokenizer:
    """Return the tokenizer that `--tokenizer` names; one that is trained is cached by the hash of its texts.

    Raises:
        UserError: the name is unknown, or what it names cannot be loaded.
    """
    check_tokenizer_spec(spec)
    if spec == "bytes":
        return BytesTokenizer()
    # The subword tokenizers need a library that takes a while to import.
    from mambrane.data import subword

    if spec.startswith("bpe:"):
        return subword.trained_bpe(spec, texts, texts_hash=texts_hash, cache_dir=cache_dir, events=events)
    return subword.pretrained(spec)


def load_tokenizer(state: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer that a run saved with `state_dict`."""
    if state.get("kind") == "bytes":
        return BytesTokenizer()
    if state.get("kind") == "subword":
        from mambrane.data import subword

        return subword.SubwordTokenizer(state["name"], state["tokenizer"], end_of_text=state["end_of_text"])
    raise UserError(
        f"saved tokenizer of kind {state.get('kind')!r}",
        wanted="bytes or subword",
        way_out="use the version of mambrane that wrote it",
    )


def read_tokenizer(file: Path) -> Tokenizer:
    """Return the tokenizer in a file of a run.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return load_tokenizer(json.loads(read_ordinary(file)))
    except UserError:
        raise
    # Beside the errors of files and JSON: the library raises plain Exception for a definition that it cannot read.
    except Exception as error:
        raise UserError(
            f"{file}: cannot be read ({type(error).__name__}: {error})",
            wanted="the tokenizer of the run",
            way_out="restore the file from a copy; or remove it and run the train command again, which makes it anew "
            "from the same text",
        ) from error


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """Return a hash that is equal exactly when two tokenizers give equal tokens."""
    return hash_of(tokenizer.state_dict())


def packed(documents: Iterable[bytes], tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """Yield each document as it stands in a token stream: END_OF_TEXT, then its tokens.

    Raises:
        UserError: the tokens of a document do not give it back, so that bits per byte would leave out what is lost.
    """
    for document in documents:
        parts = [_encoded_exactly(part, tokenizer) for part in encoded_parts(document)] or [tokenizer.encode(b"")]
        yield np.concatenate([np.array([tokenizer.end_of_text], dtype=parts[0].dtype), *parts])


def _encoded_exactly(text: bytes, tokenizer: Tokenizer) -> np.ndarray:
    tokens = tokenizer.encode(text)
    decoded = tokenizer.decode(tokens)
    if decoded != text:
        differs = (index for index, pair in enumerate(zip(text, decoded, strict=False)) if pair[0] != pair[1])
        position = next(differs, min(len(text), len(decoded)))
        before, after = (_excerpt(side, position) for side in (text, decoded))
        raise UserError(
            f"tokenizer {tokenizer.name} loses text: {before} comes back as {after}",
            wanted="a tokenizer whose tokens give back every byte: bits per byte would leave out what is lost",
            way_out="--tokenizer bytes or bpe:SIZE, or a byte-level tokenizer of the hub",
        )
    return tokens


def _excerpt(text: bytes, position: int) -> str:
    """Return what stands around a position, as one line of printable characters in quotes."""
    return ascii(text[max(position - 12, 0) : position + 24].decode("utf-8", "replace"))
