"""The engine against the oracle: the same training written by hand, on one big batch for each step, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle
from tiny_training import ListLoader, TinyModel, make_batch, make_trainer


def compare(batches, accumulation_steps, precision, epochs=1, **config):
    total = epochs * -(-len(batches) // accumulation_steps)
    trainer = make_trainer(precision=precision, total_windows=total, accumulation_steps=accumulation_steps, **config)
    oracle = Oracle(TinyModel(), trainer.config, total)
    loader = ListLoader(batches)
    results = [result for _ in range(epochs) for result in trainer.windows(loader)]
    for _ in range(epochs):
        for first in range(0, len(batches), accumulation_steps):
            oracle.train_on(batches[first : first + accumulation_steps])
    assert [result.state.name for result in results] == ["COMMITTED"] * oracle.steps
    near = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close([result.loss for result in results], oracle.losses, **near)
    torch.testing.assert_close([result.gradient_norm for result in results], oracle.norms, **near)
    weights = trainer.state_dict()["weights"]
    torch.testing.assert_close(weights["model"], dict(oracle.model.state_dict()), **near)
    torch.testing.assert_close(weights["ema"], oracle.average, **near)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 10), min_size=1, max_size=12),
    accumulation_steps=st.integers(1, 5),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    gradient_clip=st.sampled_from([0.0, 0.05, 1.0, 100.0]),
    epochs=st.integers(1, 2),
)
def test_accumulation_weighting_clipping_schedule_and_average_agree(
    counts, accumulation_steps, precision, gradient_clip, epochs
):
    batches = [make_batch(number, num_targets=count) for number, count in enumerate(counts)]
    compare(batches, accumulation_steps, precision, epochs, gradient_clip=gradient_clip)


@pytest.mark.parametrize("warmup_ratio", [0.0, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("ema_decay", [0.5, 0.999])
def test_every_setting_of_the_optimizer_agrees(warmup_ratio, weight_decay, ema_decay):
    batches = [make_batch(number) for number in range(23)]
    compare(
        batches,
        4,
        "fp16",
        2,
        warmup_ratio=warmup_ratio,
        weight_decay=weight_decay,
        ema_decay=ema_decay,
        adam_beta1=0.8,
        adam_beta2=0.95,
        min_learning_rate_ratio=0.0,
    )
