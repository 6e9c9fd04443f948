"""The numbers of a run under the names that loggers show."""

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.watch.numbers import LoggedNumbers, edges_of, flat_settings, matrix_of
from tests.measured import Loss
from tests.watch.shown import step_event


def test_a_step_gives_its_numbers_and_those_of_its_extensions_under_their_names():
    numbers = LoggedNumbers()
    given = numbers(step_event(7, terms={"rate_band": 0.5}, numbers={"stdp/mean_change": 0.25}, scale=None))
    assert given["train/loss_nats_per_token"] == 4.0
    assert given["terms/rate_band"] == 0.5
    assert given["stdp/mean_change"] == 0.25
    assert "train/loss_scale" not in given
    assert numbers.step == 7


def test_a_skipped_step_gives_nothing_and_a_resume_sets_the_step():
    numbers = LoggedNumbers()
    assert numbers(step_event(8, state="SKIPPED", loss="nan")) == {}
    assert numbers({"event": "resumed", "step": 3}) == {}
    assert numbers.step == 3


def test_what_is_measured_after_a_task_was_taken_back_belongs_to_the_step_gone_back_to():
    numbers = LoggedNumbers()
    for event in (step_event(500), step_event(900), {"event": "task_taken_back", "task": 1, "step": 500}):
        numbers(event)
    assert numbers.step == 500


def test_what_is_measured_before_the_first_step_of_a_run_begun_anew_belongs_to_step_0():
    numbers = LoggedNumbers()
    measured = {"event": "evaluation", "domain": "a", "measure": "bits_per_byte", "bits_per_byte": 8.0}
    for event in ({"event": "run_started"}, step_event(1), {"event": "run_started"}, measured):
        numbers(event)
    assert numbers.step == 0


def test_a_matrix_gives_the_metrics_that_are_defined():
    matrix = ForgettingMatrix(("a", "b"), 2)
    for row, losses in enumerate([(8.0, 8.0), (3.0, 6.0), (4.0, 2.0)]):
        for column, bits in enumerate(losses):
            matrix.record(row, column, Loss(bits, 2.0**bits))
    event = {"event": "matrix", **matrix.state_dict()}
    given = LoggedNumbers()(event)
    assert given["continual/forgetting"] == 1.0
    assert given["continual/final_average"] == 3.0
    assert matrix_of(event).values == matrix.values


def test_settings_are_named_by_section_and_lists_become_text():
    config = {"run": {"seed": 0, "logger": ["csv", "wandb"]}, "model": {"use_mamba": True, "units": None}}
    assert flat_settings(config) == {
        "run.seed": 0,
        "run.logger": "csv wandb",
        "model.use_mamba": True,
        "model.units": "None",
    }


def test_edges_of_a_histogram_enclose_its_bins():
    assert edges_of({"low": -1.0, "high": 1.0, "counts": [1, 2, 3, 4]}) == [-1.0, -0.5, 0.0, 0.5, 1.0]
