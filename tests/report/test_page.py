"""Pieces of the page: what is from outside is escaped, what is missing is a dash."""

import re

import pytest

from mambrane.report import page
from mambrane.report.figures import Picture


def test_text_from_outside_becomes_no_markup_anywhere():
    hostile = '<b> & "x"'
    pieces = [
        page.page(hostile, []),
        page.section("anchor", hostile),
        page.paragraph(hostile),
        page.tiles([(hostile, hostile, hostile)]),
        page.table([hostile], [[hostile, hostile]]),
        page.heat_table([hostile, "a"], [(hostile, [1.0])]),
        page.settings([(hostile, [(hostile, hostile)])]),
        page.sample(hostile, hostile, hostile),
        page.bullets([hostile]),
        page.figure(Picture("<svg/>", "<svg/>"), hostile),
    ]
    assert not any("<b>" in piece for piece in pieces)
    assert all("&lt;b&gt; &amp;" in piece for piece in pieces)


def test_pieces_that_are_empty_are_left_out_of_a_section():
    assert page.section("a", "t", "", "<p>x</p>") == '<section id="a">\n<h2>t</h2>\n<p>x</p>\n</section>'


def test_a_number_and_its_per_cent_sign_stay_on_one_line():
    assert page.prose("12.1 % of it") == "12.1&nbsp;% of it"


def colours(html):
    return [tuple(map(int, found)) for found in re.findall(r"background:rgb\((\d+),(\d+),(\d+)\)", html)]


@pytest.mark.parametrize(("logarithmic", "between"), [(False, 1.5), (True, 2**0.5)])
def test_the_higher_a_number_the_darker_its_cell_and_a_missing_one_is_a_dash(logarithmic, between):
    html = page.heat_table(["", *"abcd"], [("row", [1.0, between, 2.0, None])], logarithmic=logarithmic)
    light, half, dark = colours(html)
    assert light == (240, 246, 249)
    assert dark == (31, 111, 139)
    assert half == pytest.approx([(a + b) / 2 for a, b in zip(light, dark, strict=True)], abs=0.6)
    assert "<td>&ndash;</td>" in html


def test_a_table_of_equal_numbers_is_light():
    assert colours(page.heat_table(["", "a"], [("row", [3.0])])) == [(240, 246, 249)]


def test_the_last_row_is_the_total_where_one_is_asked_for():
    html = page.table(["a", "b"], [["x", "1"], ["sum", "1"]], total=True)
    assert html.count('class="total"') == 1
    assert '<tr class="total"><th scope="row">sum</th>' in html
