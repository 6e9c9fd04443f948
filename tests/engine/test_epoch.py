"""The loss of an epoch."""

import pytest

from mambrane.engine.epoch import EpochLoss
from tests.engine.tiny_training import (
    INFINITE,
    ListLoader,
    make_batch,
    make_trainer,
)


def test_the_loss_of_an_epoch_is_the_mean_over_the_tokens_of_applied_steps():
    batches = [make_batch(0, num_targets=9), make_batch(1, num_targets=1), make_batch(2, first_token=INFINITE)]
    trainer, loss = make_trainer(accumulation_steps=1), EpochLoss()
    assert loss.mean is None
    seen = list(trainer.steps(ListLoader(batches)))
    for result in seen:
        loss.add(result)
    assert [step.state.name for step in seen] == ["COMMITTED", "COMMITTED", "SKIPPED"]
    assert loss.mean == pytest.approx((9 * seen[0].loss + seen[1].loss) / 10)
