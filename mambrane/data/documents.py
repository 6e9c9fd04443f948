"""How a file becomes documents: one function for each kind of file, chosen by suffix.

A reader yields the documents of a file as UTF-8 bytes, at most `limit` bytes of them in all (0: no limit); a
document that goes beyond the limit is cut at the last line end before it.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError

Reader = Callable[[Path, int], Iterator[bytes]]
Texts = Callable[[], Iterator[bytes]]
"""Gives documents one after another, from the first on at every call."""


class CutText(bytes):
    """The beginning of a document: what comes after it in its file was not read."""


PLAIN_TEXT = """
    .txt .text .md .rst .tex .py .pyi .c .h .cc .cpp .hpp .cu .cuh .java .js .ts .go .rs .r .jl .sh .sql .html .htm
    .xml .yaml .yml .toml .ini .cfg .json .csv .tsv .css
"""
READABLE = "txt, md, py and other plain text; jsonl and parquet with a `text` column; gz of the text kinds"


def reader_for(path: Path) -> Reader | None:
    """Return the reader for a file of that name, or None if no reader knows its suffix."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [".parquet"]:
        return read_parquet
    kind = suffixes[0] if len(suffixes) == 2 and suffixes[1] == ".gz" else "".join(suffixes[-1:])
    if kind in PLAIN_TEXT.split():
        return read_text
    return read_jsonl if kind in (".jsonl", ".ndjson") else None


def read_text(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the whole file as one document."""
    with _open(path) as file:
        text = file.read(limit + 1) if limit else file.read()
    text = text.removeprefix(codecs.BOM_UTF8)
    text = cut_at_line_end(text, limit) if limit else text
    check_utf8(text, str(path))
    yield text


def read_jsonl(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the "text" field of each line."""
    yield from limited(_jsonl_texts(path), limit)


def read_parquet(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the `text` column row by row."""
    yield from limited(_parquet_texts(path), limit)


def limited(documents: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Pass documents on until `limit` bytes are reached; the last one is cut at a line end."""
    remaining = limit
    for document in documents:
        if limit and len(document) >= remaining:
            yield CutText(cut_at_line_end(document, remaining))
            return
        yield document
        remaining -= len(document)


def cut_at_line_end(text: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes: up to the last line end, or to a character's end where a line is longer."""
    if len(text) <= limit:
        return text
    line_end = text.rfind(b"\n", 0, limit)
    if line_end > 0:
        return CutText(text[: line_end + 1])
    # A character of UTF-8 has at most three continuation bytes, 10xxxxxx.
    starts = (end for end in range(limit, max(limit - 4, -1), -1) if text[end] & 0xC0 != 0x80)
    return CutText(text[: next(starts, limit)])


ENCODED_BYTES = 1 << 20
"""Longer documents are encoded in parts, to bound memory."""


def encoded_parts(text: bytes) -> Iterator[bytes]:
    """Yield the parts in which a document is encoded, cut at line ends."""
    start = 0
    while start < len(text):
        part = cut_at_line_end(text[start : start + ENCODED_BYTES + 1], ENCODED_BYTES)
        yield part
        start += len(part)


def check_utf8(text: bytes, where: str) -> None:
    """Raise UserError with the place and the byte position if the text is not UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not UTF-8 text, byte {error.start} is 0x{text[error.start]:02x}",
            wanted="text files in UTF-8",
            way_out="convert it (iconv -f LATIN1 -t UTF-8 FILE > CONVERTED.txt), or leave the file out",
        ) from error


def text_of_record(record: Any, where: str) -> bytes:  # noqa: ANN401 -- whatever JSON or the hub gave
    """Return the `text` field of a record.

    Raises:
        UserError: there is none, or it holds no text.
    """
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise no_text_field(where, sorted(record) if isinstance(record, dict) else [type(record).__name__])
    # A lone surrogate is legal in JSON and has no UTF-8 form.
    return record["text"].encode("utf-8", "replace")


def no_text_field(where: str, found: list[str]) -> UserError:
    """Return the error for records without text."""
    return UserError(
        f"{where}: no field `text` with text in it; found: {', '.join(found)}",
        wanted="a field or column named `text`",
        way_out="rename the column that holds the text to `text`",
    )


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _jsonl_texts(path: Path) -> Iterator[bytes]:
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            check_utf8(line, where)
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{where}: not JSON ({error.msg})",
                    wanted='one JSON object a line, as {"text": "..."}',
                    way_out="repair the line, or name the file .txt to read it as plain text",
                ) from error
            yield text_of_record(record, where)


def _parquet_texts(path: Path) -> Iterator[bytes]:
    # Takes a third of a second, and few runs need it.
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if "text" not in schema.names or not _holds_text(schema.field("text").type):
                raise no_text_field(str(path), [f"{field.name} ({field.type})" for field in schema])
            for batch in file.iter_batches(batch_size=1024, columns=["text"]):
                yield from (text.encode("utf-8") for text in batch.column(0).to_pylist() if text is not None)
    except pyarrow.ArrowException as error:
        raise UserError(
            f"{path}: not a whole parquet file ({error})",
            wanted="a parquet file",
            way_out="copy or download the file again",
        ) from error


def _holds_text(kind: Any) -> bool:  # noqa: ANN401 -- pyarrow has no types
    from pyarrow import types

    if types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


READ_ERRORS = (OSError, EOFError, zlib.error)
"""What a reader lets through when the file cannot be read or its compression is broken."""
