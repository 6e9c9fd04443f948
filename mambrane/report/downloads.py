"""A picture as a file, and its numbers as a table: links that hold what they give, so that nothing is fetched."""

import base64
import csv
import io
from html import escape

from mambrane.report.figures import Numbers, Picture


def svg_link(pictured: Picture) -> str:
    """Return a link to the picture as SVG; empty where there is no file of it."""
    return _link(pictured.name, "svg", "image/svg+xml", pictured.file) if pictured.file else ""


def csv_link(pictured: Picture) -> str:
    """Return a link to the numbers of the picture as CSV; empty where it has none."""
    if pictured.numbers is None:
        return ""
    return _link(pictured.name, "csv", "text/csv", as_csv(pictured.numbers))


def as_csv(numbers: Numbers) -> str:
    """Return a table as CSV; numbers have six digits, cells that would be formulas of a spreadsheet are text."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_cell, numbers.header))
    writer.writerows(map(_cell, row) for row in numbers.rows)
    return file.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) else text


def _link(name: str, ending: str, kind: str, content: str) -> str:
    data = base64.b64encode(content.encode()).decode()
    words = f"{name.replace('-', ' ')} as {ending.upper()}"
    return (
        f'<a download="{escape(name)}.{ending}" href="data:{kind};base64,{data}" aria-label="{escape(words)}">'
        f"{ending.upper()}</a>"
    )
