"""Numbers in words."""

import pytest

from mambrane.watch import formatting


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (4320, "1 h 12 min"), (273_600, "3 d 4 h")],
)
def test_a_duration_has_its_two_largest_units(seconds, words):
    assert formatting.duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0, "0"),
        (0.8312, "0.831"),
        (9.2e-4, "0.00092"),
        (9.2e-5, "9.2e-05"),
        (65536.0, "65,536"),
        (-12.345, "-12.3"),
        ("nan", "nan"),
    ],
)
def test_a_compact_number_is_short_at_any_size(number, words):
    assert formatting.compact(number) == words


@pytest.mark.parametrize(("num_bytes", "words"), [(812, "812 bytes"), (8192, "8.2 kB"), (3_400_000, "3.4 MB")])
def test_an_amount_of_data_has_a_fitting_unit(num_bytes, words):
    assert formatting.size(num_bytes) == words


def test_a_value_stays_on_one_line():
    assert formatting.value({"a": [1, 2.5, None], "b": True}) == "{a: 1, 2.5, none, b: yes}"


def test_non_finite_numbers_from_the_log_stay_words():
    assert formatting.decimal("inf") == "inf"
    assert formatting.decimal(1.23456) == "1.235"
