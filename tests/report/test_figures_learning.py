"""Pictures of what was learned: which numbers they show, in which unit, and that every label is inside."""

import re
import warnings
from itertools import pairwise

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.report.figures import PX_PER_LETTER
from mambrane.report.figures_forgetting import kept_domains, kept_picture
from mambrane.report.figures_learning import (
    block_panels,
    forgetting_picture,
    heldout_by_task,
    loss_series,
    loss_title,
    number_panels,
    training_picture,
)
from mambrane.watch.history import read_history
from tests.measured import Loss
from tests.watch.shown import step_event, task_started

NUMBERS = {"activity/gate_10": 0.3, "activity/gate_2": 0.1, "replay/fraction": 0.5}


def history_of(*, steps=4, **fields):
    return read_history([task_started(), *(step_event(step, **fields) for step in range(1, steps + 1))])


def matrix_of(rows):
    matrix = ForgettingMatrix(["python"], num_tasks=1)
    for row, value in enumerate(rows):
        matrix.record(row, 0, Loss(value, 2.0))
    return matrix


def test_the_loss_is_in_bits_per_byte_where_the_log_has_them_and_in_nats_where_not():
    with_bits, without = history_of(loss=2.0, bits_per_byte=3.0), history_of(loss=2.0, bits_per_byte=None)
    assert loss_series(with_bits).values.tolist() == [3.0] * 4
    assert loss_title(with_bits) == "training loss, bits per byte"
    assert loss_series(without).values.tolist() == [2.0] * 4
    assert loss_title(without) == "training loss, nats per token"


def test_held_out_loss_stands_beside_a_curve_of_the_same_unit_only():
    assert heldout_by_task(history_of(), matrix_of([8.0, 2.0])) == (2.0,)
    assert heldout_by_task(history_of(bits_per_byte=None), matrix_of([8.0, 2.0])) == ()
    assert heldout_by_task(history_of(), matrix_of([8.0])) == ()
    assert heldout_by_task(history_of(), None) == ()


def test_a_panel_for_each_number_that_the_run_has():
    history = history_of(numbers=NUMBERS)
    panels = number_panels(history, [("replay/fraction", "replayed"), ("stdp/mean_change", "change")])
    assert [panel.title for panel in panels] == ["replayed"]


def test_blocks_are_curves_of_one_panel_in_the_order_of_their_numbers():
    history = history_of(numbers=NUMBERS)
    (panel,) = block_panels(history, [("activity/gate", "gate", "#ff0000"), ("activity/none", "none", "#ff0000")])
    assert [curve.series.values[0] for curve in panel.curves] == [0.1, 0.3]


def test_the_pictures_name_what_they_show():
    training = training_picture(history_of(numbers=NUMBERS), matrix_of([8.0, 2.0]))
    assert "held-out text" in training.wide
    assert "gradient norm" in training.narrow
    assert "Held-out bits per byte" in forgetting_picture(matrix_of([8.0, 2.0])).wide


def matrix_with(num_domains, name_letters):
    names = [f"{column:02d} {'a name without an end ' * 4}"[:name_letters] for column in range(num_domains)]
    matrix = ForgettingMatrix(names, num_domains)
    for row in range(num_domains + 1):
        for column in range(num_domains):
            # All end close to each other at the bottom, where there is no room below them.
            matrix.record(row, column, Loss(2.0 + 0.01 * column if row > column else 8.0, 2.0))
    return matrix


def labels_of(svg):
    """Return where the labels of domains stand, and the size of the picture."""
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())
    return re.findall(r'x="([-.\d]+)" y="([-.\d]+)"[^>]*>(\d\d [^<]*)', svg), width, height


@pytest.mark.parametrize(("num_domains", "name_letters"), [(3, 80), (12, 8), (40, 8), (40, 80)])
def test_every_label_of_the_forgetting_curves_is_inside_the_picture_and_apart(num_domains, name_letters):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictured = forgetting_picture(matrix_with(num_domains, name_letters))
    for svg in (pictured.wide, pictured.narrow):
        labels, width, height = labels_of(svg)
        assert len(labels) == num_domains
        assert all(float(x) + PX_PER_LETTER * len(words) <= width for x, _, words in labels)
        lines = sorted(float(y) for _, y, _ in labels)
        # Letters of 12.5 px stand on these lines.
        assert lines[0] >= 12.5
        assert lines[-1] <= height - 12.5
        assert min(below - above for above, below in pairwise(lines)) >= 16


def test_long_names_leave_room_for_what_was_kept():
    matrix = matrix_with(3, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictured = kept_picture(matrix, kept_domains(matrix, {}))
    for svg in (pictured.wide, pictured.narrow):
        axes_left = [float(x) for x in re.findall(r'<path d="M (\d[.\d]*) ', svg)]
        width = labels_of(svg)[1]
        assert min(x for x in axes_left if x > 0) <= width * 0.6
