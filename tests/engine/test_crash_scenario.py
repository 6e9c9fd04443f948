"""The run that once died at an epoch boundary, and its neighbours.

1,131 micro-batches, accumulation 4, fp16 with its scaler, clipping, averaged weights, validation between the epochs;
the same without a tail, with less than a step, and with nothing.
"""

import pytest
import torch

from mambrane.engine.extensions import Extensions
from mambrane.engine.precision import Precision
from mambrane.engine.transaction import StepState
from tests.engine.oracle import Oracle
from tests.engine.tiny_training import (
    CPU,
    AddOne,
    Drift,
    EventList,
    ListLoader,
    TinyModel,
    make_batches,
    make_trainer,
    training_differences,
)

ACCUMULATION_STEPS = 4
EPOCHS = 2
STEPS_PER_EPOCH = {1131: 283, 1132: 283, 2: 1, 0: 0}


def run_epochs(trainer, loader, *, validate):
    """Train for the epochs, with a validation after each; returns all results."""
    results = []
    for _ in range(EPOCHS):
        results.extend(trainer.steps(loader))
        if validate:
            with trainer.evaluation(), torch.no_grad():
                trainer.model(make_batches(1, seed=99)[0].inputs_BT)
                torch.rand(3)
    return results


@pytest.mark.parametrize(
    ("precision", "num_batches"),
    [("fp16", 1131), ("fp16", 1132), ("fp16", 2), ("fp16", 0), ("bf16", 2), ("bf16", 0), ("fp32", 1131), ("fp32", 0)],
)
def test_the_right_number_of_steps_and_the_right_weights(precision, num_batches):
    batches = make_batches(num_batches)
    total = EPOCHS * STEPS_PER_EPOCH[num_batches]
    events = EventList()
    trainer = make_trainer(
        precision=precision,
        total_steps=total,
        accumulation_steps=ACCUMULATION_STEPS,
        growth_interval=100,
        initial_scale=2.0**10,
        learning_rate=1e-3,
        gradient_clip=0.2,
        ema_decay=0.99,
        events=events,
    )
    steps = []
    trainer.optimizers[0].register_step_post_hook(lambda *_: steps.append(1))
    results = run_epochs(trainer, ListLoader(batches), validate=True)
    oracle = Oracle(TinyModel(), trainer.config, total)
    for _ in range(EPOCHS):
        for first in range(0, num_batches, ACCUMULATION_STEPS):
            oracle.train_on(batches[first : first + ACCUMULATION_STEPS])
    assert len(steps) == len(results) == trainer.counters.applied == trainer.ema.num_updates == total
    assert all(result.state is StepState.COMMITTED for result in results)
    assert trainer.counters.micro_steps == EPOCHS * num_batches
    weights = trainer.state_dict()["weights"]
    torch.testing.assert_close(weights["model"], dict(oracle.model.state_dict()), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(weights["ema"], oracle.average, rtol=1e-7, atol=1e-9)
    if precision == "fp16":
        assert trainer.precision.scale == 2.0 ** (10 + total // 100)
    assert events.kinds() == (["epoch_without_steps"] * EPOCHS if num_batches == 0 else [])


@pytest.mark.parametrize("num_batches", [1131, 2])
def test_in_real_half_precision_no_step_is_lost_and_the_weights_stay_near_the_oracle(num_batches):
    batches = make_batches(num_batches)
    total = EPOCHS * STEPS_PER_EPOCH[num_batches]
    model = TinyModel(dtype=torch.float32, exact=False)
    trainer = make_trainer(model, precision="fp16", total_steps=total, learning_rate=1e-3, ema_decay=0.99)
    run_epochs(trainer, ListLoader(batches), validate=True)
    oracle = Oracle(TinyModel(), trainer.config, total)
    for _ in range(EPOCHS):
        for first in range(0, num_batches, ACCUMULATION_STEPS):
            oracle.train_on(batches[first : first + ACCUMULATION_STEPS])
    assert trainer.counters.applied == total
    assert trainer.counters.skipped == 0
    for name, weight in oracle.model.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name].double(), weight, rtol=0, atol=0.01)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_validation_between_the_epochs_leaves_no_trace(precision):
    def run(validate):
        torch.manual_seed(3)
        trainer = make_trainer(
            TinyModel(dropout=0.2),
            precision=precision,
            extensions=Extensions(batch_mixers=(AddOne(),), after_steps=(Drift(),)),
        )
        run_epochs(trainer, ListLoader(make_batches(11)), validate=validate)
        return trainer.state_dict()

    assert training_differences(run(validate=True), run(validate=False)) == []


def test_the_scaler_of_this_scenario_is_switched_on():
    assert Precision("fp16", CPU).state_dict()["scaler"]["scale"] == 2.0**16
