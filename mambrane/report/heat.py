"""A table of numbers on a scale of blue, the higher the darker: HTML on the page, SVG and CSV for download.

On the page it is a table and no picture, so that a screen reader goes through it cell by cell.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from mambrane.report.figures import INK, PAPER, PX_PER_LETTER, Numbers, Picture
from mambrane.report.page import caption_of, scroll
from mambrane.watch.formatting import visible

_LIGHTEST, _DARKEST = (240, 246, 249), (18, 82, 104)
_BLACK, _WHITE, _WHITE_FROM = "#000000", PAPER, 0.745
"""Numbers are black up to this depth and white from there on, so that every cell has a contrast of 4.5 at least."""
_ROW_PX, _GAP_PX, _FONT_PX = 34.0, 2.0, 13.0


class Heat(NamedTuple):
    """What a heat map shows."""

    header: Sequence[str]
    """The corner and the columns."""
    rows: Sequence[tuple[str, Sequence[float | None]]]
    """Name and numbers of each row; None is shown as a dash."""
    own: Sequence[tuple[int, int]] = ()
    """Cells (row, column) with a frame."""
    digits: int = 2
    """Decimals shown."""
    logarithmic: bool = False
    """Equal ratios, not equal differences, are equally far apart in colour."""
    limits: tuple[float, float] | None = None
    """Numbers with the lightest and the darkest colour; those of the table if None."""


class _Cell(NamedTuple):
    text: str
    paper: str
    ink: str
    is_framed: bool


def heat_figure(name: str, heat: Heat, caption: str) -> str:
    """Return the table with what one sees in it, and links to it as SVG and to its numbers as CSV."""
    numbers = Numbers(heat.header, [(row, *values) for row, values in heat.rows])
    pictured = Picture("", "", name, heat_svg(heat), numbers)
    return f"<figure>\n{heat_table(heat)}\n{caption_of(pictured, caption)}</figure>"


def heat_table(heat: Heat) -> str:
    """Return the table as HTML."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heat.header)
    body = []
    for (name, _), cells in zip(heat.rows, _cells(heat), strict=True):
        columns = "".join(_html_cell(cell) for cell in cells)
        body.append(f'<tr><th scope="row">{escape(name)}</th>{columns}</tr>')
    return (
        f'{scroll(heat.header)}<table class="heat"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def heat_svg(heat: Heat) -> str:
    """Return the table as an SVG file of its own, on white."""
    letters = [max(len(name) for name in names) for names in ([row for row, _ in heat.rows], heat.header[1:])]
    names_px, column_px = (max(64.0, (PX_PER_LETTER + 2.0) * most + 16) for most in letters)
    width, height = names_px + column_px * (len(heat.header) - 1), _ROW_PX * (len(heat.rows) + 1)
    shapes = [f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>', _svg_text(8.0, 0.0, heat.header[0])]
    middles = [names_px + column_px * (column + 0.5) for column in range(len(heat.header) - 1)]
    shapes += [_svg_text(x, 0.0, name, anchor="middle") for x, name in zip(middles, heat.header[1:], strict=True)]
    for number, ((name, _), cells) in enumerate(zip(heat.rows, _cells(heat), strict=True)):
        top = _ROW_PX * (number + 1)
        shapes.append(_svg_text(8.0, top, name))
        for x, cell in zip(middles, cells, strict=True):
            frame = f' stroke="{INK}" stroke-width="2"' if cell is not None and cell.is_framed else ""
            shapes.append(
                f'<rect x="{x - column_px / 2 + _GAP_PX:g}" y="{top + _GAP_PX:g}" width="{column_px - 2 * _GAP_PX:g}" '
                f'height="{_ROW_PX - 2 * _GAP_PX:g}" rx="3" fill="{PAPER if cell is None else cell.paper}"{frame}/>'
            )
            text, ink = ("\N{EN DASH}", INK) if cell is None else (cell.text, cell.ink)
            shapes.append(_svg_text(x, top, text, anchor="middle", ink=ink))
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif" '
        f'font-size="{_FONT_PX:g}">\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _cells(heat: Heat) -> list[list[_Cell | None]]:
    """Return what is drawn for each number; None where there is none."""
    known = [number for _, numbers in heat.rows for number in numbers if number is not None]
    low, high = heat.limits or (min(known), max(known))

    def cell(number: float | None, place: tuple[int, int]) -> _Cell | None:
        if number is None:
            return None
        depth = _depth(number, low, high, logarithmic=heat.logarithmic)
        red, green, blue = (round(a + (b - a) * depth) for a, b in zip(_LIGHTEST, _DARKEST, strict=True))
        ink = _WHITE if depth > _WHITE_FROM else _BLACK
        return _Cell(f"{number:.{heat.digits}f}", f"rgb({red},{green},{blue})", ink, place in heat.own)

    return [
        [cell(number, (row, column)) for column, number in enumerate(numbers)]
        for row, (_, numbers) in enumerate(heat.rows)
    ]


def _depth(number: float, low: float, high: float, *, logarithmic: bool) -> float:
    """Return where a number stands between the lightest colour (0) and the darkest (1)."""
    if high <= low:
        return 0.0
    if logarithmic:
        number, low, high = (math.log(max(value, 1e-9)) for value in (number, low, high))
    return min(max((number - low) / (high - low), 0.0), 1.0)


def _html_cell(cell: _Cell | None) -> str:
    if cell is None:
        return "<td>&ndash;</td>"
    frame = ' class="own"' if cell.is_framed else ""
    return f'<td{frame} style="background:{cell.paper};color:{cell.ink}">{cell.text}</td>'


def _svg_text(x: float, top: float, text: str, *, anchor: str = "start", ink: str = INK) -> str:
    y = top + _ROW_PX / 2 + _FONT_PX / 3
    return f'<text x="{x:g}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}">{escape(visible(text))}</text>'
