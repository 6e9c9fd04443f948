"""Adding up a step: what does not fit in memory runs in halves, and every token is counted once."""

import copy

import pytest
import torch

from mambrane.engine.accumulation import MicroBatchTooLargeError
from mambrane.engine.extensions import Extensions
from mambrane.engine.objective import Objective
from mambrane.engine.transaction import StepState
from mambrane.layers.dropout import Dropout
from tests.engine.tiny_training import (
    Drift,
    EventList,
    ListLoader,
    TinyModel,
    make_batches,
    make_trainer,
    poisoned_objective,
    training_differences,
)


class OutOfMemory:
    """An objective that runs out of memory on micro-batches of more than `fits` rows, forward or backward."""

    def __init__(self, *, fits, phase):
        self.fits, self.phase = fits, phase
        self.rows_run = []

    def __call__(self, model, batch):
        rows = len(batch.inputs_BT)
        loss_sum, output = poisoned_objective(model, batch)
        if rows > self.fits:
            if self.phase == "forward":
                self.fail()
            # The gradient of the output layer is in place when memory runs out in the hidden layer.
            output.activity[0].register_hook(self.fail)
        else:
            self.rows_run.append(rows)
        return Objective(loss_sum, output)

    def fail(self, gradient=None):
        raise torch.OutOfMemoryError("CUDA out of memory")


class Counting(TinyModel):
    """Counts, in a buffer, the rows it has seen, and drops what it would drop of the whole micro-batch."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dropout = Dropout(0.25, seed=1)
        self.register_buffer("rows_seen", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs_BT, *, resets_BT=None):
        self.rows_seen += len(inputs_BT)
        return super().forward(inputs_BT)


@pytest.mark.parametrize("phase", ["forward", "backward"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_micro_batch_that_does_not_fit_is_run_in_halves_and_counted_once(fits, precision, phase):
    batches = make_batches(3, rows=5)
    objective = OutOfMemory(fits=fits, phase=phase)
    events = EventList()
    drift = Drift(rate=0.0)
    trainer = make_trainer(
        Counting(),
        objective=objective,
        precision=precision,
        accumulation_steps=3,
        events=events,
        extensions=Extensions(after_steps=(drift,)),
    )
    (result,) = trainer.steps(ListLoader(batches))
    plain = make_trainer(Counting(), precision=precision, accumulation_steps=3)
    (expected,) = plain.steps(ListLoader(batches))
    assert result.state is StepState.COMMITTED
    assert result.num_targets == expected.num_targets
    assert trainer.counters == plain.counters
    torch.testing.assert_close(result.loss, expected.loss, rtol=1e-13, atol=0)
    torch.testing.assert_close(result.gradient_norm, expected.gradient_norm, rtol=1e-12, atol=0)
    torch.testing.assert_close(trainer.state_dict()["weights"], plain.state_dict()["weights"], rtol=1e-9, atol=1e-12)
    assert sum(objective.rows_run) == 15
    assert int(trainer.model.rows_seen) == 15
    assert trainer.precision.state_dict() == plain.precision.state_dict()
    assert drift.views[0][2] == len(objective.rows_run)
    assert "out_of_memory" in events.kinds()


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_after_a_retry_dropout_draws_what_a_run_in_small_micro_batches_draws(phase):
    whole = make_batches(2, rows=4)
    halves = [type(batch)(*(part[rows] for part in batch)) for batch in whole for rows in (slice(0, 2), slice(2, 4))]

    def weights_after(batches, objective):
        torch.manual_seed(5)
        trainer = make_trainer(TinyModel(dropout=0.5), objective=objective, accumulation_steps=len(batches))
        list(trainer.steps(ListLoader(batches)))
        return trainer.state_dict()["weights"], torch.get_rng_state()

    tight = weights_after(whole, OutOfMemory(fits=2, phase=phase))
    assert training_differences({"all": tight}, {"all": weights_after(halves, poisoned_objective)}) == []


def test_memory_that_runs_out_on_a_single_row_is_an_error_that_says_so_and_aborts_the_step():
    trainer = make_trainer(objective=OutOfMemory(fits=0, phase="backward"), accumulation_steps=2)
    loader = ListLoader(make_batches(4))
    before = copy.deepcopy(trainer.state_dict())
    with pytest.raises(MicroBatchTooLargeError, match="sequence-length"):
        list(trainer.steps(loader))
    assert loader.handed_out == loader.committed == 0
    assert training_differences(before, trainer.state_dict(), besides=["counters"]) == []
    assert trainer.counters.aborted == 1


def test_the_message_of_the_cpu_allocator_counts_as_out_of_memory():
    message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes."

    def objective(model, batch):
        if len(batch.inputs_BT) > 1:
            raise RuntimeError(message)
        return poisoned_objective(model, batch)

    trainer = make_trainer(objective=objective)
    (result,) = trainer.steps(ListLoader(make_batches(4)))
    assert result.state is StepState.COMMITTED


def test_the_real_allocator_is_understood_too():
    def objective(model, batch):
        if len(batch.inputs_BT) > 1:
            torch.empty(10**15)
        return poisoned_objective(model, batch)

    (result,) = make_trainer(objective=objective).steps(ListLoader(make_batches(4)))
    assert result.state is StepState.COMMITTED


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def objective(model, batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(make_trainer(objective=objective).steps(ListLoader(make_batches(1))))


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_larger_micro_batches_in_smaller_steps_are_the_same_step(parts):
    rows = make_batches(12, rows=1)

    def run(per_batch):
        joined = [
            type(rows[0])(*(torch.cat(tensors) for tensors in zip(*rows[at : at + per_batch], strict=True)))
            for at in range(0, 12, per_batch)
        ]
        trainer = make_trainer(accumulation_steps=6 // per_batch)
        results = list(trainer.steps(ListLoader(joined)))
        return trainer.state_dict()["weights"], [(r.loss, r.gradient_norm, r.num_targets) for r in results]

    torch.testing.assert_close(run(parts), run(1), rtol=1e-11, atol=1e-13)
