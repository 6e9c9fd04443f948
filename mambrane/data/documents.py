"""How a file becomes documents: one function for each kind of file.

A reader yields the documents of a file as UTF-8 bytes, at most `limit` bytes of them in all (0: no limit); a
document that goes beyond the limit is cut at the last line end before it, or at a character where lines are long.
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
from mambrane.core.printable import printable_path

Reader = Callable[[Path, int], Iterator[bytes]]
Texts = Callable[[], Iterator[bytes]]
"""Gives documents one after another, from the first on at every call."""
MAX_UNPACKED_RATIO = 200
"""Bytes out of a byte of gz: text gives 3 to 20, the format allows a thousand."""
MIN_BOMB_BYTES = 64 * 1024**2
"""What unpacks to less than this is no danger, whatever its ratio."""
ENCODED_BYTES = 1 << 20
"""Longer documents are encoded in parts, to bound memory."""
_BINARY = "no text at all"
_PACKED = {
    b"\x1f\x8b": "a gz file (.txt.gz is read)",
    b"PK\x03\x04": "a zip file",
    b"\xfd7zXZ\0": "an xz file",
    b"BZh": "a bz2 file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"%PDF-": "a PDF file",
}
"""How compressed files begin."""


class CutText(bytes):
    """The beginning of a document: what comes after it in its file was not read."""


def read_text(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the whole file as one document."""
    with open_text(path) as file:
        if file.peek(3).startswith(codecs.BOM_UTF8):
            file.read(3)
        text = file.read(limit + 1) if limit else file.read()
    text = cut_at_line_end(text, limit) if limit else text
    check_utf8(text, printable_path(path))
    _refuse_zeros(text, printable_path(path))
    yield text


def read_jsonl(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the "text" field of each line."""
    yield from limited(_jsonl_texts(path), limit)


def limited(documents: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Pass documents on until `limit` bytes are reached; the last one is cut at a line end.

    A line end will do as long as half of the limit is reached with it.
    """
    remaining = limit
    for document in documents:
        if limit and len(document) >= remaining:
            least = limit // 2 - (limit - remaining)
            yield CutText(cut_at_line_end(document, remaining, max(least, 0)))
            return
        yield document
        remaining -= len(document)


def cut_at_line_end(text: bytes, limit: int, least: int | None = None) -> bytes:
    """Return at most `limit` bytes: up to the last line end, or to a character's end where that leaves too little.

    Args:
        text: what is cut.
        limit: bytes to keep at most.
        least: bytes that a line end must lie behind; left out: half of the limit, as before one long line an earlier
            line end would leave a title.
    """
    if len(text) <= limit:
        return text
    line_end = text.rfind(b"\n", limit // 2 if least is None else least, limit)
    if line_end > 0:
        return CutText(text[: line_end + 1])
    # A character of UTF-8 has at most three continuation bytes, 10xxxxxx.
    starts = (end for end in range(limit, max(limit - 4, -1), -1) if text[end] & 0xC0 != 0x80)
    return CutText(text[: next(starts, limit)])


def character_start(text: bytes, place: int) -> int:
    """Return where the first character at or behind a place begins; the end of the text if there is none."""
    end = min(place + 4, len(text))
    return next((start for start in range(place, end) if text[start] & 0xC0 != 0x80), end)


def encoded_parts(text: bytes) -> Iterator[bytes]:
    """Yield the parts in which a document is encoded, cut at line ends."""
    start = 0
    while start < len(text):
        # A part may be short: that does no harm, and a known text keeps its tokens.
        part = cut_at_line_end(text[start : start + ENCODED_BYTES + 1], ENCODED_BYTES, least=0)
        yield part
        start += len(part)


def check_utf8(text: bytes, where: str) -> None:
    """Raise UserError with the place, the byte position and the likely encoding if the text is not UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        kind = _likely_kind(text)
        hint = f"; it looks like {kind}" if kind else ""
        raise UserError(
            f"{where}: not UTF-8 text, byte {error.start} is 0x{text[error.start]:02x}{hint}",
            wanted="text files in UTF-8",
            way_out=_way_to_text(kind),
        ) from error


def _refuse_zeros(text: bytes, where: str) -> None:
    """Raise UserError for text with NUL bytes: it is binary, or UTF-16 without a mark, which passes for UTF-8."""
    if 0 not in text:
        return
    kind = _likely_kind(text)
    hint = f"; it looks like {kind}" if kind else ""
    raise UserError(
        f"{where}: not text, NUL bytes in it: {text.count(0):,}, the first is byte {text.index(0)}{hint}",
        wanted="text files in UTF-8",
        way_out=_way_to_text(kind) if kind else "take them out (tr -d '\\0' < FILE > CLEAN.txt), or leave the file out",
    )


def _way_to_text(kind: str | None) -> str:
    if kind in (_BINARY, *_PACKED.values()):
        return f"leave the file out{'' if kind == _BINARY else ', or unpack it'}"
    encoding = kind or "ENCODING"
    example = "" if kind else ", with the encoding that it was written in: LATIN1, SHIFT-JIS, ..."
    return f"convert it (iconv -f {encoding} -t UTF-8 FILE > CONVERTED.txt{example}), or leave the file out"


def _likely_kind(text: bytes) -> str | None:
    """Return what a mark at the beginning, zeros in every other byte, or control characters speak for."""
    marks = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"}
    marks |= {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
    named = next((kind for mark, kind in (marks | _PACKED).items() if text.startswith(mark)), None)
    return named or _likely_encoding(text[:4096]) or (_BINARY if _num_controls(text[:4096]) > 4 else None)


def _likely_encoding(beginning: bytes) -> str | None:
    """Return the encoding that zeros in two or three of four bytes speak for."""
    zeros = [beginning[place::4].count(0) for place in range(4)]
    # Of text in UTF-16, spaces and line ends alone give this many; a few zeros are no sign.
    enough = max(len(beginning) / 20, 2)
    # No character needs the highest byte of the four.
    for encoding, high, low in (("UTF-32LE", zeros[2:], zeros[0]), ("UTF-32BE", zeros[:2], zeros[3])):
        if sum(high) > enough and min(high) > 0.9 * (len(beginning) // 4) and low < min(high):
            return encoding
    counts = {"UTF-16LE": zeros[1] + zeros[3], "UTF-16BE": zeros[0] + zeros[2]}
    likely = max(counts, key=counts.__getitem__)
    return likely if counts[likely] > enough and counts[likely] > 2 * min(counts.values()) else None


def _num_controls(beginning: bytes) -> int:
    """Return how many control characters there are that no text has."""
    return sum(byte < 0x20 and byte not in b"\b\t\n\v\f\r\x1a\x1b" for byte in beginning)


def text_of_record(record: Any, where: str) -> bytes:  # noqa: ANN401 -- whatever JSON or the hub gave
    """Return the `text` field of a record.

    Raises:
        UserError: there is none, or it holds no text.
    """
    if not isinstance(record, dict):
        raise no_text_field(where, [type(record).__name__])
    if not isinstance(record.get("text"), str):
        raise no_text_field(where, [f"{name} ({type(value).__name__})" for name, value in sorted(record.items())])
    text = record["text"]
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        # Legal in JSON, and no character.
        raise UserError(
            f"{where}: half a character, \\u{ord(text[error.start]):04x} without its other half",
            wanted="text of whole characters: a surrogate has no UTF-8 form",
            way_out="take it out, or leave the record out",
        ) from error


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
        packed_bytes = path.stat().st_size
        if not packed_bytes:
            # Python takes nothing for the gz form of nothing; it is a file whose writer was stopped.
            raise EOFError("an empty file is no gz file")
        self._max_bytes = max(MAX_UNPACKED_RATIO * packed_bytes, MIN_BOMB_BYTES)
        self._num_bytes = 0
        self._file = gzip.open(path, "rb")  # noqa: SIM115 -- closed by close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- anything with a buffer, as the base class says
        num_bytes = self._file.readinto(buffer)
        self._num_bytes += num_bytes
        if self._num_bytes > self._max_bytes:
            raise UserError(
                f"{printable_path(self._path)}: unpacks to more than {self._max_bytes:,} bytes, "
                f"{MAX_UNPACKED_RATIO} times its size",
                wanted="compressed text",
                way_out="unpack it yourself if that is right (gunzip FILE), or leave it out",
            )
        return num_bytes

    def close(self) -> None:
        self._file.close()
        super().close()


def _jsonl_texts(path: Path) -> Iterator[bytes]:
    shown = printable_path(path)
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{shown}, line {number}"
            if not line.strip():
                continue
            check_utf8(line, where)
            yield text_of_record(_json_of(line.decode("utf-8-sig"), where), where)


def _json_of(line: str, where: str) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        # The parser takes the last of two without a word.
        return json.loads(line, object_pairs_hook=_without_doubles if line.count('"text"') > 1 else None)
    # Beside its own error the parser raises plain ValueError for a number of 5,000 digits.
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
        raise UserError(
            f"{where}: not JSON ({reason})",
            wanted='one JSON object a line, as {"text": "..."}',
            way_out="repair the line, or name the file .txt to read it as plain text",
        ) from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if sum(name == "text" for name, _ in pairs) > 1:
        raise ValueError("two fields named `text` in one object")
    return dict(pairs)


READ_ERRORS = (OSError, EOFError, zlib.error)
"""What a reader lets through when the file cannot be read or its compression is broken."""
