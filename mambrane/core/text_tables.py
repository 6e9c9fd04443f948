"""Tables as text for other programs: comma-separated values, Markdown, LaTeX."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    character: "\\" + character for character in "&%$#_{}"
}


def csv_text(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows below their headings as comma-separated values; what there is none of is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([head, *(["" if cell is None else cell for cell in row] for row in rows)])
    return text.getvalue()


def markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]], *, rule: str = "---") -> Iterator[str]:
    """Yield the lines of a Markdown table; all columns but the first have the rule."""
    for row in (head, ["---", *[rule] * (len(head) - 1)], *rows):
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"


def latex_row(cells: Sequence[str]) -> str:
    """Return a row of a LaTeX table, its characters escaped."""
    return " & ".join(map(latex_text, cells)) + r" \\"


def latex_text(text: str) -> str:
    """Return text as LaTeX shows it."""
    return "".join(_LATEX.get(character, character) for character in text)
