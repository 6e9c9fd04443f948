"""English prose out of Python files: the sentences of docstrings, without code, tables and markup.

A docstring is cut into paragraphs. A paragraph stays if it starts at the docstring's own margin, reads like
sentences (capital letter, full stop, at least eight words, a fair share of the commonest English words) and
holds no formula, prompt or table.
"""

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from mambrane.data.documents import cut_at_line_end

_Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_COMMON_WORD_LIST = """
    the a an of to in is are be it that this for and or not with as by if on when from can will which has have
    its at was but all any only used use each one into than then no does should must may
"""
_COMMON_WORDS = frozenset(_COMMON_WORD_LIST.split())
_NOT_PROSE = re.compile(r">>>|:math:|\\|::|^\s*[-*+|.:=~#>\[{(]|[{}<>=|]{2}|https?:|^\w+ : |_{2}|\t", re.MULTILINE)
_ROLE = re.compile(r":[\w:]+:`~?([^`]*)`|``([^`]*)``|`([^`]*)`_{0,2}")


def read_prose(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the prose of a Python file as one document, a paragraph a line; nothing if there is none."""
    source = path.read_bytes()
    if b'"""' not in source:
        return
    paragraphs: list[str] = []
    total = 0
    for docstring in _docstrings(source):
        for paragraph in prose_paragraphs(docstring):
            paragraphs.append(paragraph)
            total += len(paragraph.encode()) + 1
        if limit and total > limit:
            break
    text = "".join(paragraph + "\n" for paragraph in dict.fromkeys(paragraphs)).encode()
    if text:
        yield cut_at_line_end(text, limit) if limit else text


def prose_paragraphs(docstring: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring that read like sentences, each on one line."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        if block.startswith(" ") or "\n " in block or _NOT_PROSE.search(block):
            continue
        text = _ROLE.sub(lambda match: next(group for group in match.groups() if group is not None), block)
        text = " ".join(text.split())
        if _reads_like_sentences(text):
            yield text


def _reads_like_sentences(text: str) -> bool:
    words = re.findall(r"[A-Za-z']+", text)
    if len(words) < 8 or not text[0].isupper() or text[-1] not in ".!?":
        return False
    letters = sum(character.isalpha() or character == " " for character in text)
    common = sum(word.lower() in _COMMON_WORDS for word in words)
    return letters > 0.9 * len(text) and common > 0.25 * len(words) and text.isascii()


def _docstrings(source: bytes) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    yield from _docstrings_in(tree)


def _docstrings_in(scope: _Scope) -> Iterator[str]:
    """Yield the docstring of a scope, then those of the scopes right inside it, in the order of the file."""
    docstring = ast.get_docstring(scope, clean=False)
    if docstring:
        yield docstring
    for statement in scope.body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstrings_in(statement)
