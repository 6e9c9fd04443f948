"""Pictures as files, numbers as tables: links that hold all they give."""

import base64
import csv
import io
import re
import xml.etree.ElementTree as ElementTree

from mambrane.report.downloads import as_csv, csv_link, svg_link
from mambrane.report.figures import Numbers, Picture, picture


def content(link):
    return base64.b64decode(re.search(r"base64,([^\"]+)", link).group(1)).decode()


def test_the_svg_stands_alone_with_colours_of_its_own():
    def draw(figure):
        figure.subplots().plot([0, 1], [1, 0], color="#1f6f8b")

    pictured = picture("a-loss", 100, draw, description="falls")
    svg = content(svg_link(pictured))
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "#1f6f8b" in svg
    assert "var(" not in svg
    assert "var(--c1f6f8b)" in pictured.wide
    assert 'download="a-loss.svg"' in svg_link(pictured)
    assert 'aria-label="a loss as SVG"' in svg_link(pictured)


def test_the_csv_holds_the_numbers_and_no_formula_of_a_spreadsheet():
    rows = [("=cmd|' /c calc'!A1", 0.123456789), ('two "words", and\nlines', None)]
    table = as_csv(Numbers(("name", "value"), rows))
    assert list(csv.reader(io.StringIO(table))) == [
        ["name", "value"],
        ["'=cmd|' /c calc'!A1", "0.123457"],
        ['two "words", and\nlines', ""],
    ]
    link = csv_link(Picture("", "", "x", "", Numbers(("a",), [(1,)])))
    assert content(link) == "a\n1\n"


def test_what_a_picture_lacks_has_no_link():
    assert svg_link(Picture("", "")) == ""
    assert csv_link(Picture("", "")) == ""
