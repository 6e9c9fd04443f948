"""English prose out of what is installed: sentences, without code, tables, lists and markup.

Text is cut into paragraphs. A paragraph stays if it reads like sentences (capital letter, full stop, at least eight
words, a fair share of the commonest English words) and holds no formula, prompt or table; of a docstring also only if
it starts at the docstring's own margin. Docstrings that say a line or two are left out: of a file they are read only if
1,500 bytes are in paragraphs of several lines.
"""

import ast
import inspect
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from mambrane.data.documents import cut_at_line_end, limited

_Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_COMMON_WORD_LIST = """
    the a an of to in is are be it that this for and or not with as by if on when from can will which has have
    its at was but all any only used use each one into than then no does should must may
"""
_COMMON_WORDS = frozenset(_COMMON_WORD_LIST.split())
_LONG_PARAGRAPH = 160
_ENOUGH_PROSE = 1500
_NOT_PROSE = re.compile(r">>>|:math:|\\|::|^\s*[-*+|.:=~#>\[{(]|[{}<>=|]{2}|https?:|^\w+ : |_{2}|\t", re.MULTILINE)
_ROLE = re.compile(r":[\w:]+:`~?([^`]*)`|``([^`]*)``|`([^`]*)`_{0,2}")


def read_prose(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the prose of a plain text as one document, a paragraph a line; nothing if there is none."""
    yield from _document(_paragraphs_of_page(path.read_text(encoding="utf-8", errors="replace")), limit)


def read_topics(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the prose of each page of Python's reference (`pydoc_data/topics.py`, a dict of texts) as a document."""
    pages = [node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant)]
    documents = (_document(_paragraphs_of_page(page), 0) for page in pages if isinstance(page, str) and "\n" in page)
    yield from limited(itertools.chain.from_iterable(documents), limit)


def read_docstrings(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the prose of the docstrings of a Python file as one document, if they say more than a line or two."""
    source = path.read_bytes()
    if sum(map(len, source.split(b'"""')[1::2])) < 2 * _ENOUGH_PROSE:
        return
    paragraphs = [paragraph for docstring in _docstrings(source) for paragraph in prose_paragraphs(docstring)]
    long_ones = {paragraph for paragraph in paragraphs if len(paragraph) >= _LONG_PARAGRAPH}
    if sum(map(len, long_ones)) >= _ENOUGH_PROSE:
        yield from _document(paragraphs, limit)


def _document(paragraphs: Iterable[str], limit: int) -> Iterator[bytes]:
    text = "".join(paragraph + "\n" for paragraph in dict.fromkeys(paragraphs)).encode()
    if text:
        yield cut_at_line_end(text, limit) if limit else text


def _paragraphs_of_page(page: str) -> Iterator[str]:
    """Yield the paragraphs of a page, whatever their margin; a paragraph in capitals only is skipped."""
    for block in re.split(r"\n\s*\n", page):
        lines = [line.strip() for line in block.splitlines()]
        for paragraph in prose_paragraphs("\n".join(lines)):
            if sum(map(str.isupper, paragraph)) < 0.3 * len(paragraph):
                yield paragraph


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
    tree = parsed(source)
    if tree is not None:
        yield from _docstrings_in(tree)


def parsed(source: bytes) -> ast.Module | None:
    """Return the syntax tree of a Python file; None if this Python cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _docstrings_in(scope: _Scope) -> Iterator[str]:
    """Yield the docstring of a scope, then those of the scopes right inside it, in the order of the file."""
    docstring = ast.get_docstring(scope, clean=False)
    if docstring:
        yield docstring
    for statement in scope.body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstrings_in(statement)
