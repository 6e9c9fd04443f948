"""Readers for the kinds of files that only the built-in text has.

Headers, font metrics, literal tables, READMEs, and the reStructuredText that Python sources hold.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from mambrane.data.builtin.prose import parsed
from mambrane.data.documents import CutText, Reader, check_utf8, cut_at_line_end

_NUMERIC_ROW = re.compile(rb"^[\s\[\](){},:;.0-9eE+-]*[0-9][\s\[\](){},:;.0-9eE+-]*$")
_INCLUDE = re.compile(rb"^[ \t]*#[ \t]*(?:include|pragma once)\b.*\n?", re.MULTILINE)
# torch puts these lines around each of its headers when it is built.
_GUARD = re.compile(rb"\A#if !defined\(TORCH_STABLE_ONLY\).*\n|^#else\n#error .*\n#endif.*\n?\Z", re.MULTILINE)
_LICENCE_COMMENT = re.compile(rb"\A\s*(?:/\*.*?\*/\s*|(?://[^\n]*\n\s*)+)", re.DOTALL)
_GENERATED = re.compile(rb"@generated|generated (?:by|from)|DO NOT (?:EDIT|MODIFY)", re.IGNORECASE)
# A role such as :math:`x`, a directive such as .. note::, or a ``literal``.
_MARK = re.compile(r":[\w:]+:`|^\s*\.\. [\w:-]+::|``", re.MULTILINE)
_ENOUGH_MARKS = 3
_ENOUGH_LINES = 6
_KERNING_PAIR = re.compile(rb"^KPX .*\n?", re.MULTILINE)


def in_blocks(read: Reader, block_bytes: int) -> Reader:
    """Return a reader of the same text in documents of about so many bytes, cut at line ends."""

    def read_blocks(path: Path, limit: int) -> Iterator[bytes]:
        for document in read(path, limit):
            rest = bytes(document)
            while len(rest) > 1.5 * block_bytes:
                block = bytes(cut_at_line_end(rest, block_bytes))
                yield block
                rest = rest[len(block) :]
            yield CutText(rest) if isinstance(document, CutText) else rest

    # The cache knows a text by the name of its reader.
    read_blocks.__name__ = f"{read.__name__}_in_blocks_of_{block_bytes}"
    return read_blocks


def read_header(path: Path, limit: int) -> Iterator[bytes]:
    """Yield a C++ header without its licence and its lists of includes; nothing if a program has written it.

    These parts are much the same in hundreds of headers, and would stand in both splits.
    """
    text = path.read_bytes()
    if _GENERATED.search(text[:1024]):
        return
    check_utf8(text, str(path))
    text = _GUARD.sub(b"", text)
    while comment := _LICENCE_COMMENT.match(text):
        if not re.search(rb"copyright|licen[cs]e", comment[0], re.IGNORECASE):
            break
        text = text[comment.end() :]
    yield _up_to(limit, _INCLUDE.sub(b"", text).lstrip())


def read_font_metrics(path: Path, limit: int) -> Iterator[bytes]:
    """Yield font metrics without the pairs of kerning, which are short and alike in many fonts."""
    text = path.read_bytes()
    check_utf8(text, str(path))
    yield _up_to(limit, _KERNING_PAIR.sub(b"", text))


def typeface_of(path: Path) -> str:
    """Return the name of the typeface that font metrics belong to; bold and italic fonts have the same."""
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b"FamilyName"):
                return line.removeprefix(b"FamilyName").strip().decode("utf-8", "replace")
    return ""


def read_numeric_rows(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the lines of a source file that hold numbers only: the body of its literal tables."""
    rows = [line.strip() + b"\n" for line in path.read_bytes().splitlines() if _NUMERIC_ROW.match(line)]
    text = b"".join(rows)
    yield _up_to(limit, text)


def read_readme(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the long description of a package's METADATA: what follows the first empty line."""
    text = path.read_bytes().partition(b"\n\n")[2]
    check_utf8(text, str(path))
    yield _up_to(limit, text)


def read_restructured_text(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the reStructuredText in a Python file as one document: long texts with roles, directives or literals."""
    tree = parsed(path.read_bytes())
    literals = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)] if tree else []
    pages = dict.fromkeys(inspect.cleandoc(text) for text in literals if isinstance(text, str) and "\n" in text)
    text = "\n\n".join(page for page in pages if _is_restructured_text(page))
    if text:
        yield _up_to(limit, (text + "\n").encode())


def _is_restructured_text(page: str) -> bool:
    return page.count("\n") + 1 >= _ENOUGH_LINES and len(_MARK.findall(page)) >= _ENOUGH_MARKS


def _up_to(limit: int, text: bytes) -> bytes:
    return cut_at_line_end(text, limit) if limit else text
