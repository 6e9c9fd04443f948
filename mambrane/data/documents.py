"""How a file becomes documents: one function for each kind of file, chosen by suffix.

A reader yields the documents of a file as UTF-8 bytes, at most `limit` bytes of them in all (0: no limit); a
document that goes beyond the limit is cut at the last line end before it.
"""

import codecs
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from mambrane.core.errors import UserError

Reader = Callable[[Path, int], Iterator[bytes]]

PLAIN_TEXT = """
    .txt .text .md .rst .tex .py .pyi .c .h .cc .cpp .hpp .cu .cuh .java .js .ts .go .rs .r .jl .sh .sql .html .htm
    .xml .yaml .yml .toml .ini .cfg .json .csv .tsv .css
"""
READABLE = "txt, md, py and other plain text; jsonl and parquet with a `text` column; gz of the text kinds"


def reader_for(path: Path) -> Reader | None:
    """Return the reader for a file of that name, or None if no reader knows its suffix."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".gz" and len(suffixes) == 2:
        kind = suffixes[0]
    if kind in PLAIN_TEXT.split():
        return read_text
    if kind in (".jsonl", ".ndjson"):
        return read_jsonl
    return read_parquet if path.suffix.lower() == ".parquet" else None


def read_text(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the whole file as one document."""
    with _open(path) as file:
        text = file.read(limit + 1) if limit else file.read()
    text = text.removeprefix(codecs.BOM_UTF8)
    if limit and len(text) > limit:
        text = cut_at_line_end(text, limit)
    check_utf8(text, path)
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
            yield cut_at_line_end(document, remaining)
            return
        yield document
        remaining -= len(document)


def cut_at_line_end(text: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes: up to the last line end, or to a character's end where a line is longer."""
    if len(text) <= limit:
        return text
    line_end = text.rfind(b"\n", 0, limit)
    if line_end > 0:
        return text[: line_end + 1]
    while limit > 0 and text[limit] & 0xC0 == 0x80:
        limit -= 1
    return text[:limit]


def check_utf8(text: bytes, path: Path) -> None:
    """Raise UserError with the file and the byte position if the text is not UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text, byte {error.start} is 0x{text[error.start]:02x}",
            wanted="text files in UTF-8",
            way_out=f"iconv -f LATIN1 -t UTF-8 {path.name} > converted.txt, or leave the file out",
        ) from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _jsonl_texts(path: Path) -> Iterator[bytes]:
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            check_utf8(line, path)
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number}: not JSON ({error.msg})",
                    wanted='one JSON object a line, as {"text": "..."}',
                    way_out="repair the line, or name the file .txt to read it as plain text",
                ) from error
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                found = sorted(record) if isinstance(record, dict) else type(record).__name__
                raise _no_text_field(f"{path}, line {number}", found)
            # A lone surrogate is legal in JSON and has no UTF-8 form.
            yield record["text"].encode("utf-8", "replace")


def _parquet_texts(path: Path) -> Iterator[bytes]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise UserError(
            f"{path}: not a parquet file ({error})", wanted="a whole parquet file", way_out="copy the file again"
        ) from error
    with file:
        names = file.schema_arrow.names
        if "text" not in names or not pyarrow.types.is_string(_plain(file.schema_arrow.field("text").type)):
            raise _no_text_field(str(path), names)
        for batch in file.iter_batches(batch_size=1024, columns=["text"]):
            for text in batch.column(0):
                if text.is_valid:
                    yield text.as_py().encode("utf-8")


def _plain(kind: object) -> object:
    import pyarrow

    return pyarrow.string() if kind in (pyarrow.large_string(), pyarrow.string_view()) else kind


def _no_text_field(where: str, found: object) -> UserError:
    return UserError(
        f"{where}: no field `text` with text in it; found {found}",
        wanted="a field or column named `text`",
        way_out="rename the column that holds the text to `text`",
    )
