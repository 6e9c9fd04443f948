"""Pieces of the page: what is from outside is escaped, what is missing is a dash."""

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


def test_the_last_row_is_the_total_where_one_is_asked_for():
    html = page.table(["a", "b"], [["x", "1"], ["sum", "1"]], total=True)
    assert html.count('class="total"') == 1
    assert '<tr class="total"><th scope="row">sum</th>' in html
