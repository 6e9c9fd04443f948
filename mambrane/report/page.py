"""Pieces of the report's page: sections, pictures, tables, in plain HTML. Everything is inline: nothing is fetched."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from mambrane.report import figures
from mambrane.report.downloads import csv_link, svg_link
from mambrane.report.figures import DARK, NARROW_PX, WIDE_PX, Picture
from mambrane.watch.formatting import visible

INK, SOFT_INK, RULE, PAPER = map(figures.variable, (figures.INK, figures.SOFT_INK, figures.RULE, figures.PAPER))
_LIGHT_COLOURS = " ".join(f"--c{colour[1:]}: {colour};" for colour in DARK)
_DARK_COLOURS = " ".join(f"--c{colour[1:]}: {dark};" for colour, dark in DARK.items())

STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT_COLOURS} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK_COLOURS} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: {PAPER}; color: {INK}; font: 16px/1.55 "Helvetica Neue", Helvetica, Arial, sans-serif;
  -webkit-text-size-adjust: 100%; }}
main {{ max-width: {WIDE_PX + 48}px; margin: 0 auto; padding: 56px 24px 96px; }}
h1 {{ font-size: 30px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.01em; overflow-wrap: anywhere; }}
h2 {{ font-size: 20px; line-height: 1.3; margin: 72px 0 8px; padding-top: 20px; border-top: 1px solid {RULE}; }}
p {{ margin: 0 0 12px; max-width: 66ch; }}
.lead {{ color: {SOFT_INK}; font-size: 17px; margin-bottom: 28px; }}
.note, figcaption {{ color: {SOFT_INK}; font-size: 14px; line-height: 1.5; max-width: 74ch; }}
figure {{ margin: 24px 0 36px; }}
figcaption {{ margin-top: 10px; }}
a {{ color: {figures.variable(figures.FIRST_POPULATION)}; }}
a:focus-visible, [tabindex]:focus-visible, button:focus-visible {{ outline: 3px solid
  {figures.variable(figures.SECOND_POPULATION)}; outline-offset: 2px; }}
.skip {{ position: absolute; left: -9999px; }}
.skip:focus {{ position: static; }}
nav ul {{ list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 20px 0 0;
  font-size: 14px; }}
nav li {{ margin: 0; }}
.files {{ display: inline; margin-left: 6px; white-space: nowrap; }}
#live {{ position: sticky; top: 0; padding: 8px 24px; background: {PAPER}; color: {SOFT_INK}; font-size: 14px;
  border-bottom: 1px solid {RULE}; text-align: center; }}
.beside {{ display: grid; grid-template-columns: 1fr 1fr; gap: 24px; }}
svg {{ display: block; width: 100%; height: auto; font-family: inherit; }}
.narrow {{ display: none; max-width: {NARROW_PX + 60}px; }}
.tiles {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: 1px; border: 1px solid {RULE}; border-radius: 6px;
  overflow: hidden; margin: 0 0 8px; }}
.tiles div {{ padding: 14px 16px; box-shadow: 0 0 0 1px {RULE}; }}
.tiles dt {{ color: {SOFT_INK}; font-size: 13px; }}
.tiles dd {{ margin: 2px 0 0; font-size: 22px; font-variant-numeric: tabular-nums; }}
.tiles small {{ font-size: 13px; color: {SOFT_INK}; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; width: 100%; }}
th, td {{ padding: 7px 10px; text-align: right; border-bottom: 1px solid {RULE}; vertical-align: baseline; }}
th {{ color: {SOFT_INK}; font-weight: normal; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
tbody th {{ color: {INK}; }}
tr.total th, tr.total td {{ font-weight: bold; border-bottom: 0; }}
.heat {{ border-collapse: separate; border-spacing: 2px; table-layout: fixed; }}
.heat th:first-child {{ width: 22%; }}
.heat thead th {{ white-space: normal; overflow-wrap: anywhere; }}
.heat td {{ border: 0; text-align: center; border-radius: 3px; padding: 9px 8px; }}
.heat th {{ border: 0; }}
.heat thead th:not(:first-child) {{ text-align: center; }}
.heat td.own {{ outline: 2px solid {INK}; outline-offset: -2px; }}
.words th, .words td {{ text-align: left; }}
.words td {{ overflow-wrap: anywhere; }}
.settings {{ columns: 2; column-gap: 48px; margin-top: 18px; }}
.settings section {{ break-inside: avoid; margin-bottom: 24px; }}
h3 {{ font-size: 14px; margin: 0 0 4px; }}
h4 {{ font-size: 13px; font-weight: normal; color: {SOFT_INK}; margin: 0; }}
.settings dl {{ margin: 0; font-size: 13px; display: grid; grid-template-columns: auto 1fr; gap: 1px 16px; }}
.settings dt {{ color: {SOFT_INK}; }}
.settings dd {{ margin: 0; text-align: right; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
.sample {{ white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid {RULE}; padding: 2px 0 2px 18px;
  margin: 8px 0 28px; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  tab-size: 4; }}
.sample span {{ color: {SOFT_INK}; }}
ul {{ padding-left: 18px; margin: 12px 0; }}
li {{ margin-bottom: 6px; }}
@media (max-width: 640px) {{
  main {{ padding: 32px 18px 64px; }}
  h1 {{ font-size: 25px; }}
  h2 {{ margin-top: 52px; }}
  .wide {{ display: none; }}
  .narrow {{ display: block; }}
  .settings, .beside {{ columns: 1; grid-template-columns: 1fr; }}
  .tiles {{ grid-template-columns: 1fr 1fr; }}
  th, td {{ padding: 6px 8px; }}
  .words tbody th {{ white-space: normal; }}
  .words td {{ min-width: 10ch; }}
  .heat td {{ padding: 8px 2px; font-size: 13px; }}
  .heat thead th:not(:first-child) {{ padding: 6px 0; font-size: 12px; }}
}}
@media print {{ h2 {{ break-after: avoid; }} figure {{ break-inside: avoid; }} }}
"""


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole HTML page; its sections are linked at its top, behind the first one, which is the head."""
    pieces = list(sections)
    links = [f'<li><a href="#{anchor}">{heading}</a></li>' for anchor, heading in _HEADINGS.findall("\n".join(pieces))]
    if links:
        pieces.insert(1, f'<nav aria-label="Sections"><ul>{"".join(links)}</ul></nav>')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">To the content</a>\n<main id="content">\n'
        + "\n".join(pieces)
        + "\n</main>\n</body>\n</html>\n"
    )


_HEADINGS = re.compile(r'<section id="([\w-]+)">\n<h2>(.*?)</h2>')


def section(anchor: str, title: str, *pieces: str) -> str:
    """Return a section with a heading; pieces that are empty are left out."""
    body = "\n".join(piece for piece in pieces if piece)
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{body}\n</section>'


def prose(text: str) -> str:
    """Return escaped text in which a number and its per cent sign stay on one line."""
    return escape(text).replace(" %", "&nbsp;%")


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{prose(text)}</p>"


def figure(pictured: Picture, caption: str) -> str:
    """Return a picture in both forms, of which the page shows the one that fits, and what one sees in it."""
    forms = f'<div class="wide">{pictured.wide}</div>\n<div class="narrow">{pictured.narrow}</div>'
    return f"<figure>\n{forms}\n{caption_of(pictured, caption)}</figure>"


def caption_of(pictured: Picture, caption: str) -> str:
    """Return the caption of a picture, with links to its files."""
    links = [svg_link(pictured), csv_link(pictured)]
    files = f' <span class="files">{" ".join(filter(None, links))}</span>' if any(links) else ""
    return f"<figcaption>{prose(caption)}{files}</figcaption>"


def tiles(items: Sequence[tuple[str, str, str]]) -> str:
    """Return key figures: (what, number, unit)."""
    cells = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(number)} <small>{escape(unit)}</small></dd></div>"
        for what, number, unit in items
    )
    return f'<dl class="tiles">{cells}</dl>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "", total: bool = False) -> str:
    """Return a table whose first column names the rows; `total` marks the last row."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = []
    for number, (name, *cells) in enumerate(rows):
        mark = ' class="total"' if total and number == len(rows) - 1 else ""
        columns = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f'<tr{mark}><th scope="row">{escape(name)}</th>{columns}</tr>')
    attribute = f' class="{kind}"' if kind else ""
    return (
        f"{scroll(header)}<table{attribute}><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def scroll(header: Sequence[str]) -> str:
    """Return the opening of what a wide table scrolls in, also by keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(", ".join(header))}">'


def settings(sections: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Return settings by section, in two columns where there is room."""
    blocks = []
    for name, items in sections:
        pairs = "".join(f"<dt>{escape(key)}</dt><dd>{escape(item)}</dd>" for key, item in items)
        blocks.append(f"<section><h3>{escape(name)}</h3><dl>{pairs}</dl></section>")
    return f'<div class="settings">{"".join(blocks)}</div>'


def sample(title: str, prompt: str, continuation: str, truth: str = "") -> str:
    """Return a text that the model went on with, the given part pale; beside it, if known, how it goes on by itself."""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    given, written, true = (visible(text, keep="\n") for text in (prompt, continuation, truth))
    text = f'<div class="sample"><span>{escape(given)}</span>{escape(written)}</div>'
    if not true:
        return heading + text
    beside = f'<div class="sample"><span>{escape(given)}</span>{escape(true)}</div>'
    columns = f"<div><h4>the model</h4>{text}</div><div><h4>the text itself</h4>{beside}</div>"
    return f'{heading}<div class="beside">{columns}</div>'


def bullets(items: Sequence[str]) -> str:
    """Return a list of plain sentences."""
    return '<ul class="note">' + "".join(f"<li>{prose(item)}</li>" for item in items) + "</ul>"
