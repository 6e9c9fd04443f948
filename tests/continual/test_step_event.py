"""What the log says of a step and of an evaluation."""

from mambrane.continual.measure import BITS_PER_BYTE
from mambrane.continual.step_event import evaluation_event, step_event
from mambrane.continual.stream import Task
from mambrane.engine.step_result import StepResult
from mambrane.engine.transaction import StepState
from tests.measured import Loss

TASK = Task(index=2, name="prose", train=(), num_epochs=3)


def result(**fields):
    usual = {"state": StepState.COMMITTED, "num_micro_batches": 2, "num_samples": 8, "num_targets": 100}
    return StepResult(**{**usual, "learning_rate": 0.1, "scale": 1.0, **fields})


def doubled(loss, task):
    return {"bits": 2 * loss, "task_of_the_number": task.index}


def test_a_step_has_its_place_its_speed_and_what_the_loss_means():
    event = step_event(result(loss=1.5, numbers={"a/b": 1.0}), TASK, doubled, step=7, epoch=1, seconds=4.0)
    assert event["state"] == "COMMITTED"
    assert (event["step"], event["task"], event["epoch"]) == (7, 2, 1)
    assert (event["loss"], event["bits"], event["task_of_the_number"]) == (1.5, 3.0, 2)
    assert (event["tokens"], event["tokens_per_s"]) == (100, 25.0)
    assert event["numbers"] == {"a/b": 1.0}


def test_a_step_that_ran_nothing_has_no_loss_and_nothing_that_follows_from_it():
    event = step_event(result(state=StepState.EMPTY), TASK, doubled, step=7, epoch=1, seconds=4.0)
    assert event["loss"] is None
    assert "bits" not in event


def test_an_evaluation_is_named_by_its_measure_and_keeps_the_details_beside_it():
    event = evaluation_event(BITS_PER_BYTE, Loss(2.5, 5.0), 3, "prose")
    assert event == {
        "row": 3,
        "domain": "prose",
        "measure": "bits_per_byte",
        "unit": "bits/byte",
        "bits_per_byte": 2.5,
        "perplexity": 5.0,
    }
