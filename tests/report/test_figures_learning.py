"""Pictures of what was learned: which numbers they show, in which unit."""

from mambrane.continual.matrix import ForgettingMatrix
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
