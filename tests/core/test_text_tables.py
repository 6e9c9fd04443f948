"""Tables for other programs: what could break out of its cell cannot."""

from mambrane.core.text_tables import csv_text, latex_row, markdown_rows


def test_comma_separated_values_quote_what_must_be_and_leave_empty_what_is_not_there():
    assert csv_text(["a", "b"], [[1, None], ["x, y", 0.5]]) == 'a,b\n1,\n"x, y",0.5\n'


def test_a_markdown_cell_keeps_its_bar():
    assert list(markdown_rows(["", "run"], [["a|b", "1"]], rule="---:")) == [
        "|  | run |",
        "| --- | ---: |",
        r"| a\|b | 1 |",
    ]


def test_latex_shows_every_character_as_it_is():
    assert latex_row(["50 %", "a_b"]) == r"50 \% & a\_b \\"
    assert latex_row(["\\~^{}"]) == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{\} \\"
