"""The drawing table: SVG that stands alone, curves that hold the numbers."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambrane.report.figures import (
    DARK,
    DOMAIN_COLOURS,
    INK,
    NARROW_PX,
    PAPER,
    RULE,
    SOFT_INK,
    WIDE_PX,
    draw_series,
    picture,
    shades,
    smooth,
    spread,
)
from mambrane.watch.history import Series
from tests.report.contrast import contrast


def draw(figure):
    axes = figure.subplots()
    draw_series(axes, Series(np.arange(1, 4), np.array([0.125, 0.25, 0.5])), "#1f6f8b")
    axes.set_title("a loss of 0.125")


def test_a_picture_comes_in_two_widths_with_its_text_as_text():
    made = picture("test", 200, draw, description="a loss")
    for svg, width in ((made.wide, WIDE_PX), (made.narrow, NARROW_PX)):
        assert re.search(rf'viewBox="0 0 {width} 200"', svg)
        assert ">a loss of 0.125</text>" in svg
        assert 'aria-label="a loss"' in svg


def test_a_picture_refers_to_nothing_outside_and_brings_no_typeface():
    for svg in picture("test", 200, draw, description="a loss")[:2]:
        assert "http" not in svg
        assert "DejaVu" not in svg
        assert svg.startswith("<svg")


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_of_every_colour_can_be_read_on_both_papers(is_dark):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    paper = DARK[PAPER] if is_dark else PAPER
    text = [dark if is_dark else light for light, dark in DARK.items() if light not in (PAPER, RULE)]
    assert {colour: contrast(colour, paper) for colour in text if contrast(colour, paper) < 4.5} == {}
    assert {*DOMAIN_COLOURS, INK, SOFT_INK} <= set(DARK)


def test_the_same_numbers_give_the_same_bytes():
    assert picture("test", 200, draw, description="a loss") == picture("test", 200, draw, description="a loss")


def test_names_inside_two_pictures_do_not_clash():
    first, second = (picture(name, 200, draw, description="x").wide for name in ("first", "second"))
    clips = [set(re.findall(r'clipPath id="([^"]+)"', svg)) for svg in (first, second)]
    assert clips[0]
    assert not clips[0] & clips[1]


def test_a_long_curve_is_thinned_and_keeps_its_mean_and_its_extremes():
    values = np.random.default_rng(0).normal(size=10_000)
    means, lowest, highest = smooth(Series(np.arange(10_000), values), 100)
    assert len(means.steps) == 100
    assert means.values.mean() == pytest.approx(values.mean())
    assert lowest.min() == values.min()
    assert highest.max() == values.max()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_labels_are_moved_apart_and_keep_their_order(positions):
    moved = np.array(spread(positions, 10.0))
    order = np.argsort(positions, kind="stable")
    assert (np.diff(moved[order]) >= 10.0 - 1e-6).all()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_labels_stay_within_limits_that_have_room_for_them(positions):
    moved = np.array(spread(positions, 10.0, (0.0, 70.0)))
    assert moved.min() >= 0.0
    assert moved.max() <= 70.0
    assert (np.diff(np.sort(moved)) >= 10.0 - 1e-6).all()


def test_labels_with_room_stay_where_they_are():
    assert spread([50.0, 10.0, 30.0], 10.0) == [50.0, 10.0, 30.0]


def test_shades_end_with_the_colour_itself():
    assert shades("#1f6f8b", 3)[-1] == "#1f6f8b"
    assert len(set(shades("#1f6f8b", 8))) == 8
    assert shades("#1f6f8b", 1) == ["#1f6f8b"]


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, mambrane.report.report, mambrane.watch.tensorboard; "
    code += "print([name for name in ('matplotlib', 'tensorboard') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
