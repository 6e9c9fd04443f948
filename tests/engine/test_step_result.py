"""What became of a step, from its sums."""

import torch

from mambrane.engine.accumulation import StepSums
from mambrane.engine.step_result import StepResult
from mambrane.engine.transaction import StepState


def test_the_main_loss_stands_apart_from_the_terms_and_counts_are_those_of_the_sums():
    sums = StepSums(parameters={}, num_targets=10, num_samples=4, num_micro_batches=2)
    for nats in (30.0, 10.0):
        sums.add_loss("loss", torch.tensor(nats))
    sums.add_loss("distillation", torch.tensor(5.0))
    losses = {name: float(loss) for name, loss in sums.mean_losses().items()}
    result = StepResult.of(sums, losses, state=StepState.COMMITTED, learning_rate=0.1, scale=1.0)
    assert (result.loss, result.terms) == (4.0, {"distillation": 0.5})
    assert (result.num_targets, result.num_samples, result.num_micro_batches) == (10, 4, 2)
    assert result.penalties == result.numbers == {}


def test_without_a_target_nothing_was_measured():
    sums = StepSums(parameters={}, num_micro_batches=1)
    sums.add_loss("loss", torch.tensor(3.0))
    result = StepResult.of(
        sums, sums.mean_losses(), state=StepState.EMPTY, reason="no counted target", learning_rate=0.1, scale=1.0
    )
    assert (result.loss, result.terms, result.gradient_norm) == (None, {}, None)
    assert result.reason == "no counted target"
