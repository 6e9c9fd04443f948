"""Token streams: uint16 if the vocabulary allows it, else uint32.

A stream is END_OF_TEXT d1 END_OF_TEXT d2 ... and is read as a ring: the token after the last one is the first
END_OF_TEXT, the target that ends the last document. So a stream of n tokens has n inputs and n targets.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mambrane.core.events import EventLog
from mambrane.data.cache import CacheDamaged, hash_of, obtain_folder, opened_folder
from mambrane.data.tokenizer import Tokenizer, packed, tokenizer_hash
from mambrane.data.tokens_on_disk import TokensOnDisk, open_tokens
from mambrane.storage.atomic_files import FileRecord, write_new_file

FORMAT_VERSION = 1
_STORED_AS = 3
"""Version of the folder: part of its name, and not of the content hash that a run remembers."""


@dataclass(frozen=True, eq=False)
class TokenFile:
    """One split of one domain, as tokens."""

    tokens: np.ndarray | TokensOnDisk = field(repr=False)
    """The stream; on disk when it comes from the cache and is long."""
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
    return token_file_of_split(documents, hash_of([document.hex() for document in documents]), tokenizer)


def token_file_of_split(documents: Sequence[bytes], texts_hash: str, tokenizer: Tokenizer) -> TokenFile:
    """Return the token stream of documents in memory, known by the same hash as the one in the cache."""
    return TokenFile(
        tokens=np.concatenate(list(packed(documents, tokenizer))),
        end_of_text=tokenizer.end_of_text,
        num_bytes=sum(map(len, documents)),
        num_documents=len(documents),
        content_hash=_key(texts_hash, tokenizer),
    )


def no_tokens(tokenizer: Tokenizer, *, num_bytes: int, num_documents: int) -> TokenFile:
    """Return an empty stream in place of a split whose text is gone; its counts are those of the text."""
    tokens = np.empty(0, dtype=_dtype(tokenizer))
    return TokenFile(tokens, tokenizer.end_of_text, num_bytes, num_documents, content_hash="")


def cached_token_file(
    texts: Callable[[], Iterable[bytes]],
    *,
    what: str,
    texts_hash: str,
    tokenizer: Tokenizer,
    cache_dir: Path,
    events: EventLog,
) -> TokenFile:
    """Return the token stream of some documents; `texts` is called only if the cache does not hold it whole.

    Args:
        texts: gives the documents.
        what: what they are, as text, for messages.
        texts_hash: hash of the documents and their borders.
        tokenizer: turns them into tokens.
        cache_dir: folder that holds the streams.
        events: receives "cache_damaged".

    Raises:
        UserError: the cache cannot be written, or the tokenizer loses text.
    """
    key = _key(texts_hash, tokenizer)
    return obtain_folder(
        _folder(key, cache_dir),
        what=f"the tokens of {what}",
        open_whole=lambda folder: _open(folder, key, tokenizer),
        write=lambda folder: _write(folder, texts(), tokenizer),
        events=events,
    )


def token_file_in_cache(*, texts_hash: str, tokenizer: Tokenizer, cache_dir: Path) -> TokenFile | None:
    """Return the token stream of the documents with this hash, or None if the cache does not hold it whole."""
    key = _key(texts_hash, tokenizer)
    return opened_folder(_folder(key, cache_dir), lambda folder: _open(folder, key, tokenizer))


def _folder(key: str, cache_dir: Path) -> Path:
    return cache_dir / "tokens" / hash_of([_STORED_AS, key])


def _key(texts_hash: str, tokenizer: Tokenizer) -> str:
    return hash_of([FORMAT_VERSION, texts_hash, tokenizer_hash(tokenizer)])


def _write(folder: Path, documents: Iterable[bytes], tokenizer: Tokenizer) -> dict[str, FileRecord]:
    dtype = _dtype(tokenizer)
    num_tokens = num_bytes = num_documents = 0

    def counted() -> Iterator[bytes]:
        nonlocal num_bytes, num_documents
        for document in documents:
            num_bytes += len(document)
            num_documents += 1
            yield document

    def blocks() -> Iterator[bytes]:
        nonlocal num_tokens
        for tokens in packed(counted(), tokenizer):
            assert int(tokens.max()) < tokenizer.vocab_size, f"tokenizer {tokenizer.name} leaves its vocabulary"
            num_tokens += len(tokens)
            yield tokens.astype(dtype, copy=False).tobytes()

    files = {"tokens.bin": write_new_file(folder / "tokens.bin", blocks())}
    record = {
        "dtype": dtype.str,
        "num_tokens": num_tokens,
        "num_bytes": num_bytes,
        "num_documents": num_documents,
        "end_of_text": tokenizer.end_of_text,
    }
    files["record.json"] = write_new_file(folder / "record.json", [json.dumps(record).encode()])
    return files


def _dtype(tokenizer: Tokenizer) -> np.dtype:
    return np.dtype("<u2" if tokenizer.vocab_size <= 65536 else "<u4")


def _open(folder: Path, key: str, tokenizer: Tokenizer) -> TokenFile:
    """Return the stream in a cache folder whose files are as they were written.

    Raises:
        CacheDamaged: the record does not fit the file or the tokenizer.
    """
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    counts = [record["num_tokens"], record["num_bytes"], record["num_documents"]]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise CacheDamaged(f"{folder}: the record holds counts of {counts}")
    if (record["dtype"], record["end_of_text"]) != (_dtype(tokenizer).str, tokenizer.end_of_text):
        raise CacheDamaged(f"{folder}: the record is that of another tokenizer")
    tokens = open_tokens(folder / "tokens.bin", _dtype(tokenizer))
    if len(tokens) != record["num_tokens"]:
        raise CacheDamaged(f"{folder}: {len(tokens):,} tokens, the record says {record['num_tokens']:,}")
    # A long stream stays on the disk; its hash alone speaks for it.
    if isinstance(tokens, np.ndarray) and tokens.max(initial=0) >= tokenizer.vocab_size:
        raise CacheDamaged(f"{folder}: token {tokens.max():,} of a vocabulary of {tokenizer.vocab_size:,}")
    return TokenFile(
        tokens=tokens,
        end_of_text=tokenizer.end_of_text,
        num_bytes=record["num_bytes"],
        num_documents=record["num_documents"],
        content_hash=key,
    )
