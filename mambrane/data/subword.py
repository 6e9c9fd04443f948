"""Tokenizers with learned pieces: byte-level BPE trained on the data, or one from the Hugging Face hub.

A trained BPE holds all 256 bytes among its pieces, so it too is exact for any bytes. END_OF_TEXT is added behind
the last piece, out of reach of the text; a pretrained tokenizer keeps its own.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.printable import printable_path
from mambrane.data.cache import hash_of, obtain_folder
from mambrane.data.config import MAX_VOCABULARY, bpe_spec
from mambrane.data.documents import Texts, encoded_parts
from mambrane.storage.atomic_files import FileRecord, write_new_file

_FORMAT_VERSION = 3
_END_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class SubwordTokenizer:
    """A tokenizer of the `tokenizers` library behind our interface."""

    def __init__(self, name: str, definition: str, *, end_of_text: int) -> None:
        """Take the definition, the content of a tokenizer.json."""
        self.name = name
        self.end_of_text = end_of_text
        self._definition = definition
        self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        # Text that spells a special token stays text.
        self._tokenizer.encode_special_tokens = True
        numbers = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(*numbers.values(), end_of_text) + 1
        self._is_byte_level = isinstance(self._tokenizer.decoder, ByteLevelDecoder)
        self._bytes_of = _bytes_of_pieces(numbers, self._tokenizer, self._is_byte_level)
        self._token_of_bytes = {piece: token for token, piece in self._bytes_of.items()}
        self._bytes_of[end_of_text] = b""

    def encode(self, text: bytes) -> np.ndarray:
        """Return the tokens; bytes that are no UTF-8 become single-byte tokens where the pieces allow it."""
        parts = [np.array(self._encode_part(part), dtype=np.uint32) for part in encoded_parts(text)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        """Return the bytes of the tokens; END_OF_TEXT has none."""
        numbers = [int(token) for token in tokens]
        if self._is_byte_level:
            return b"".join(self._bytes_of.get(number, b"") for number in numbers)
        numbers = [number for number in numbers if number != self.end_of_text]
        return self._tokenizer.decode(numbers, skip_special_tokens=False).encode()

    def decode_next(self, previous: int | None, token: int) -> bytes:
        """Return the bytes that `token` adds after `previous`."""
        if token in self._bytes_of:
            return self._bytes_of[token]
        before = [] if previous is None or previous in self._bytes_of else [previous]
        return self.decode([*before, token])[len(self.decode(before)) :]

    def state_dict(self) -> dict[str, Any]:
        """Return the name, the definition and END_OF_TEXT."""
        return {
            "kind": "subword",
            "name": self.name,
            "tokenizer": self._definition,
            "end_of_text": self.end_of_text,
        }

    def _encode_part(self, text: bytes) -> list[int]:
        tokens: list[int] = []
        while text:
            try:
                return tokens + self._encode_text(text.decode("utf-8"))
            except UnicodeDecodeError as error:
                tokens += self._encode_text(text[: error.start].decode("utf-8"))
                tokens += [self._token_of_byte(byte) for byte in text[error.start : error.end]]
                text = text[error.end :]
        return tokens

    def _encode_text(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _token_of_byte(self, byte: int) -> int:
        if bytes([byte]) not in self._token_of_bytes:
            raise UserError(
                f"tokenizer {self.name} has no piece for byte 0x{byte:02x}, which is not UTF-8 text",
                wanted="UTF-8 text",
                way_out="--tokenizer bytes or bpe:SIZE, which take any bytes",
            )
        return self._token_of_bytes[bytes([byte])]


def trained_bpe(spec: str, texts: Texts, *, texts_hash: str, cache_dir: Path, events: EventLog) -> SubwordTokenizer:
    """Return a byte-level BPE of at most the wanted size, trained on `texts` unless the cache holds it."""
    bpe = bpe_spec(spec)
    assert bpe is not None, f"{spec} was checked before"
    key = hash_of([_FORMAT_VERSION, tokenizers.__version__, spec, texts_hash])
    definition = obtain_folder(
        cache_dir / "tokenizers" / key,
        what=f"the tokenizer {spec}",
        open_whole=_read_definition,
        write=lambda folder: _write_definition(folder, _train(bpe.size, texts())),
        events=events,
    )
    num_pieces = len(json.loads(definition)["model"]["vocab"])
    return SubwordTokenizer(spec, definition, end_of_text=num_pieces)


def pretrained(spec: str) -> SubwordTokenizer:
    """Return a tokenizer from the hub (hf:NAME) or from a tokenizer.json.

    Raises:
        UserError: it is not there, or the hub cannot be reached.
    """
    name = spec.removeprefix("hf:")
    try:
        # A pipe or a device would be read for ever.
        if name.endswith(".json") and not Path(name).expanduser().is_file():
            raise FileNotFoundError("there is no such file")
        if name.endswith(".json"):
            tokenizer = tokenizers.Tokenizer.from_file(str(Path(name).expanduser()))
        else:
            tokenizer = tokenizers.Tokenizer.from_pretrained(name)
    # The library raises plain Exception for a missing file, a bad file and an unreachable hub alike.
    except Exception as error:
        raise UserError(
            f"--tokenizer {printable_path(spec)}: cannot be loaded ({type(error).__name__}: {error})",
            wanted="the path of a tokenizer.json, or a hub repository that holds one and can be reached",
            way_out="--tokenizer bytes, or download tokenizer.json and give its path",
        ) from error
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    if not numbers or max(numbers.values()) >= MAX_VOCABULARY:
        raise UserError(
            f"--tokenizer {printable_path(spec)}: {len(numbers):,} tokens, "
            f"the highest number is {max(numbers.values(), default=0):,}",
            wanted=f"a vocabulary of 1 to {MAX_VOCABULARY:,} tokens: the model has a row for each number",
            way_out="--tokenizer bytes or bpe:SIZE",
        )
    # Equal text must give equal tokens, whenever it is read again.
    for chance in ("dropout", "alpha", "nbest_size"):
        if getattr(tokenizer.model, chance, None) is not None:
            setattr(tokenizer.model, chance, None)
    # Padding and truncation belong to batches of sentences, not to a stream.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return SubwordTokenizer(spec, tokenizer.to_str(), end_of_text=end_of_text_in(tokenizer))


def end_of_text_in(tokenizer: tokenizers.Tokenizer) -> int:
    """Return the token that ends a text: the tokenizer's own, or one behind its last."""
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    return next((numbers[name] for name in _END_NAMES if name in numbers), max(numbers.values()) + 1)


def _train(size: int, texts: Iterator[bytes]) -> str:
    tokenizer = tokenizers.Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(vocab_size=size - 1, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator((text.decode("utf-8") for text in texts), trainer)
    return tokenizer.to_str()


def _read_definition(folder: Path) -> str:
    return (folder / "tokenizer.json").read_text(encoding="utf-8")


def _write_definition(folder: Path, definition: str) -> dict[str, FileRecord]:
    return {"tokenizer.json": write_new_file(folder / "tokenizer.json", [definition.encode()])}


def _bytes_of_pieces(numbers: dict[str, int], tokenizer: tokenizers.Tokenizer, is_byte_level: bool) -> dict[int, bytes]:
    """Return the bytes of the pieces that stand for bytes whatever comes before them."""
    if not is_byte_level:
        matches = ((_BYTE_PIECE.fullmatch(piece), number) for piece, number in numbers.items())
        return {number: bytes([int(match[1], 16)]) for match, number in matches if match}
    byte_of = {character: byte for byte, character in byte_stand_ins().items()}
    added = tokenizer.get_added_tokens_decoder()
    return {
        number: bytes(byte_of[character] for character in piece)
        if number not in added and byte_of.keys() >= set(piece)
        else piece.encode()
        for piece, number in numbers.items()
    }


def byte_stand_ins() -> dict[int, str]:
    """Return the printable stand-in of each byte in byte-level BPE: itself if printable, else from U+0100 on.

    Source: Radford et al. 2019, the released code of GPT-2 (bytes_to_unicode).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {byte: chr(byte) for byte in printable}
    return stand_ins | {byte: chr(0x100 + index) for index, byte in enumerate(others)}
