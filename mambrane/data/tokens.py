"""Token streams on disk, memory-mapped: uint16 if the vocabulary allows it, else uint32.

A stream is END_OF_TEXT d1 END_OF_TEXT d2 ... and is read as a ring: the token after the last one is the first
END_OF_TEXT, the target that ends the last document. So a stream of n tokens has n inputs and n targets.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mambrane.data.cache import hash_of, obtain_folder
from mambrane.data.tokenizer import Tokenizer, packed, tokenizer_hash

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class TokenFile:
    """One split of one domain, as tokens."""

    tokens: np.ndarray = field(repr=False)
    """The stream; memory-mapped when it comes from the cache."""
    end_of_text: int
    """The token that starts each document."""
    num_bytes: int
    """Bytes of raw text, for bits per byte; END_OF_TEXT has none."""
    num_documents: int
    """Documents in the stream."""
    content_hash: str
    """Hash of the text and the tokenizer."""

    @property
    def num_tokens(self) -> int:
        """Tokens, END_OF_TEXT included; also the number of targets."""
        return len(self.tokens)


def token_file_from(documents: Iterable[bytes], tokenizer: Tokenizer) -> TokenFile:
    """Return a token stream in memory, for text that is not worth a file."""
    documents = list(documents)
    digest = hash_of([document.hex() for document in documents])
    return TokenFile(
        tokens=np.concatenate(list(packed(documents, tokenizer))),
        end_of_text=tokenizer.end_of_text,
        num_bytes=sum(map(len, documents)),
        num_documents=len(documents),
        content_hash=_key(digest, tokenizer),
    )


def cached_token_file(
    texts: Callable[[], Iterable[bytes]], *, texts_hash: str, tokenizer: Tokenizer, cache_dir: Path
) -> TokenFile:
    """Return the token stream of some documents; `texts` is called only if it is not in the cache."""
    key = _key(texts_hash, tokenizer)
    return obtain_folder(
        cache_dir / "tokens" / key,
        lambda folder: _open(folder, key),
        lambda folder: _write(folder, texts(), tokenizer),
    )


def _key(texts_hash: str, tokenizer: Tokenizer) -> str:
    return hash_of([FORMAT_VERSION, texts_hash, tokenizer_hash(tokenizer)])


def _write(folder: Path, documents: Iterable[bytes], tokenizer: Tokenizer) -> None:
    kind = np.dtype(np.uint16 if tokenizer.vocab_size <= 65536 else np.uint32)
    num_tokens = num_bytes = num_documents = 0

    def counted() -> Iterable[bytes]:
        nonlocal num_bytes, num_documents
        for document in documents:
            num_bytes += len(document)
            num_documents += 1
            yield document

    with (folder / "tokens.bin").open("wb") as file:
        for tokens in packed(counted(), tokenizer):
            file.write(tokens.astype(kind.newbyteorder("<"), copy=False).tobytes())
            num_tokens += len(tokens)
    record = {
        "dtype": kind.newbyteorder("<").str,
        "num_tokens": num_tokens,
        "num_bytes": num_bytes,
        "num_documents": num_documents,
        "end_of_text": tokenizer.end_of_text,
    }
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")


def _open(folder: Path, key: str) -> TokenFile | None:
    """Return the stream in a cache folder, or None if it is not there or not whole."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        dtype = np.dtype(record["dtype"])
        if os.path.getsize(folder / "tokens.bin") != record["num_tokens"] * dtype.itemsize:
            return None
        tokens = np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
    except (OSError, ValueError, KeyError):
        return None
    return TokenFile(
        tokens=tokens,
        end_of_text=record["end_of_text"],
        num_bytes=record["num_bytes"],
        num_documents=record["num_documents"],
        content_hash=key,
    )
