"""How a file becomes documents: one function for each kind of file.

A reader yields the documents of a file as UTF-8 bytes, at most `limit` bytes of them in all (0: no limit); a
document that goes beyond the limit is cut at the last line end before it.
"""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError

Reader = Callable[[Path, int], Iterator[bytes]]
Texts = Callable[[], Iterator[bytes]]
"""Gives documents one after another, from the first on at every call."""
MAX_UNPACKED_RATIO = 200
"""Bytes out of a byte of gz: text gives 3 to 20, the format allows a thousand."""
MIN_BOMB_BYTES = 64 * 1024**2
"""What unpacks to less than this is no danger, whatever its ratio."""
ENCODED_BYTES = 1 << 20
"""Longer documents are encoded in parts, to bound memory."""


class CutText(bytes):
    """The beginning of a document: what comes after it in its file was not read."""


def read_text(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the whole file as one document."""
    with open_text(path) as file:
        if file.peek(3).startswith(codecs.BOM_UTF8):
            file.read(3)
        text = file.read(limit + 1) if limit else file.read()
    text = cut_at_line_end(text, limit) if limit else text
    check_utf8(text, str(path))
    _refuse_zeros(text, str(path))
    yield text


def read_jsonl(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the "text" field of each line."""
    yield from limited(_jsonl_texts(path), limit)


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


def encoded_parts(text: bytes) -> Iterator[bytes]:
    """Yield the parts in which a document is encoded, cut at line ends."""
    start = 0
    while start < len(text):
        part = cut_at_line_end(text[start : start + ENCODED_BYTES + 1], ENCODED_BYTES)
        yield part
        start += len(part)


def check_utf8(text: bytes, where: str) -> None:
    """Raise UserError with the place, the byte position and the likely encoding if the text is not UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        encoding = _likely_encoding(text)
        hint = f"; it looks like {encoding}" if encoding else ""
        raise UserError(
            f"{where}: not UTF-8 text, byte {error.start} is 0x{text[error.start]:02x}{hint}",
            wanted="text files in UTF-8",
            way_out=_conversion(encoding or "LATIN1"),
        ) from error


def _refuse_zeros(text: bytes, where: str) -> None:
    """Raise UserError for text with NUL bytes: it is binary, or UTF-16 without a mark, which passes for UTF-8."""
    if 0 not in text:
        return
    encoding = _likely_encoding(text)
    hint = f"; it looks like {encoding}" if encoding else ""
    raise UserError(
        f"{where}: not text, byte {text.index(0)} and {text.count(0) - 1:,} others are NUL{hint}",
        wanted="text files in UTF-8",
        way_out=_conversion(encoding)
        if encoding
        else "take them out (tr -d '\\0' < FILE > CLEAN.txt), or leave the file out",
    )


def _conversion(encoding: str) -> str:
    return f"convert it (iconv -f {encoding} -t UTF-8 FILE > CONVERTED.txt), or leave the file out"


def _likely_encoding(text: bytes) -> str | None:
    """Return the encoding that a byte order mark, or a zero in every other byte, speaks for."""
    marks = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"}
    marks |= {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
    named = next((encoding for mark, encoding in marks.items() if text.startswith(mark)), None)
    beginning = text[:4096]
    zeros = {"UTF-16LE": beginning[1::2].count(0), "UTF-16BE": beginning[::2].count(0)}
    likely = max(zeros, key=zeros.__getitem__)
    # Of text in UTF-16, spaces and line ends alone give this many; a few zeros are no sign.
    is_likely = zeros[likely] > max(len(beginning) / 20, 2) and zeros[likely] > 2 * min(zeros.values())
    return named or (likely if is_likely else None)


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


def open_text(path: Path) -> io.BufferedReader:
    """Open a file of text, compressed or not, to be read in bytes."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path))


class _Unpacked(io.RawIOBase):
    """What a gz file holds; refuses one that unpacks to more than any text does, before memory is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._max_bytes = max(MAX_UNPACKED_RATIO * path.stat().st_size, MIN_BOMB_BYTES)
        self._num_bytes = 0
        self._file = gzip.open(path, "rb")  # noqa: SIM115 -- closed by close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- anything with a buffer, as the base class says
        num_bytes = self._file.readinto(buffer)
        self._num_bytes += num_bytes
        if self._num_bytes > self._max_bytes:
            raise UserError(
                f"{self._path}: unpacks to more than {self._max_bytes:,} bytes, {MAX_UNPACKED_RATIO} times its size",
                wanted="compressed text",
                way_out="unpack it yourself if that is right (gunzip FILE), or leave it out",
            )
        return num_bytes

    def close(self) -> None:
        self._file.close()
        super().close()


def _jsonl_texts(path: Path) -> Iterator[bytes]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            check_utf8(line, where)
            yield text_of_record(_json_of(line.decode("utf-8-sig"), where), where)


def _json_of(line: str, where: str) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return json.loads(line)
    # Beside its own error the parser raises plain ValueError for a number of 5,000 digits.
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
        raise UserError(
            f"{where}: not JSON ({reason})",
            wanted='one JSON object a line, as {"text": "..."}',
            way_out="repair the line, or name the file .txt to read it as plain text",
        ) from error


READ_ERRORS = (OSError, EOFError, zlib.error)
"""What a reader lets through when the file cannot be read or its compression is broken."""
