"""The heat map: on the page and as a file, with the same numbers and colours."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mambrane.report.heat import Heat, heat_figure, heat_svg, heat_table
from tests.report.contrast import contrast

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<b> & "x"'


def colours(drawn):
    return [tuple(map(int, found)) for found in re.findall(r"rgb\((\d+),(\d+),(\d+)\)", drawn)]


@pytest.mark.parametrize("draw", [heat_table, heat_svg])
@pytest.mark.parametrize(("logarithmic", "between"), [(False, 1.5), (True, 2**0.5)])
def test_the_higher_a_number_the_darker_its_cell_and_a_missing_one_is_a_dash(draw, logarithmic, between):
    drawn = draw(Heat(["", *"abcd"], [("row", [1.0, between, 2.0, None])], logarithmic=logarithmic))
    light, half, dark = colours(drawn)
    assert light == (240, 246, 249)
    assert dark == (18, 82, 104)
    assert half == pytest.approx([(a + b) / 2 for a, b in zip(light, dark, strict=True)], abs=0.6)
    assert "&ndash;<" in drawn or "\N{EN DASH}<" in drawn


def test_every_cell_can_be_read():
    drawn = heat_table(Heat(["", *map(str, range(101))], [("row", [float(number) for number in range(101)])]))
    cells = re.findall(r"background:(rgb\([\d,]+\));color:(#[0-9a-f]+)", drawn)
    assert len(cells) == 101
    assert min(contrast("#" + bytes(colours(paper)[0]).hex(), ink) for paper, ink in cells) >= 4.5


def test_a_table_of_equal_numbers_is_light():
    assert colours(heat_table(Heat(["", "a"], [("row", [3.0])]))) == [(240, 246, 249)]


def test_text_from_outside_becomes_no_markup():
    heat = Heat([HOSTILE, "a\x1b"], [(HOSTILE, [1.0])])
    for drawn in (heat_table(heat), heat_svg(heat), heat_figure("name", heat, HOSTILE)):
        assert "<b>" not in drawn
        assert "&lt;b&gt; &amp;" in drawn
    ElementTree.fromstring(heat_svg(heat))


def test_the_file_shows_every_name_and_number_inside_its_edges_and_frames_the_own_cells():
    heat = Heat(["after", "a", "a long name of a domain"], [("none", [1.0, 2.0]), ("first", [0.5, None])], own=[(1, 0)])
    svg = ElementTree.fromstring(heat_svg(heat))
    texts = svg.findall(f"{SVG}text")
    assert [text.text for text in texts] == [
        "after", "a", "a long name of a domain", "none", "1.00", "2.00", "first", "0.50", "\N{EN DASH}"
    ]  # fmt: skip
    assert all(0 <= float(text.get("x")) <= float(svg.get("width")) for text in texts)
    assert all(0 <= float(text.get("y")) <= float(svg.get("height")) for text in texts)
    framed = [shape for shape in svg.findall(f"{SVG}rect") if shape.get("stroke")]
    assert len(framed) == 1
    assert float(framed[0].get("x")) < float(texts[7].get("x"))


def test_the_figure_gives_the_table_as_svg_and_its_numbers_as_csv():
    heat = Heat(["after", "a"], [("none", [1.23456]), ("first", [None])])
    figure = heat_figure("matrix", heat, "what one sees")
    svg, table = (base64.b64decode(found).decode() for found in re.findall(r'base64,([^"]+)"', figure))
    assert svg == heat_svg(heat)
    assert table == "after,a\nnone,1.23456\nfirst,\n"
    assert 'download="matrix.svg"' in figure
    assert 'download="matrix.csv"' in figure
