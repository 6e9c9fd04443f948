"""The engine against the oracle: the same training written by hand, on one big batch for each step, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambrane.core.seeding import make_generator
from mambrane.engine.objective import next_token_objective
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from tests.engine.oracle import Oracle
from tests.engine.tiny_training import ListLoader, TinyModel, make_batch, make_trainer


def compare(batches, accumulation_steps, precision, epochs=1, **config):
    total = epochs * -(-len(batches) // accumulation_steps)
    trainer = make_trainer(precision=precision, total_steps=total, accumulation_steps=accumulation_steps, **config)
    oracle = Oracle(TinyModel(), trainer.config, total)
    loader = ListLoader(batches)
    results = [result for _ in range(epochs) for result in trainer.steps(loader)]
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


@settings(max_examples=40)
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


@pytest.mark.parametrize("integration_mode", ["sequential", "parallel", "bidirectional"])
def test_the_whole_hybrid_model_agrees(integration_mode):
    config = ModelConfig(
        hidden_dim=16,
        num_layers=2,
        spiking_units=8,
        use_mamba=True,
        mamba_d_state=4,
        integration_mode=integration_mode,
        use_adaptive_gating=True,
        num_gate_heads=4,
        use_cross_attention=integration_mode == "bidirectional",
        cross_attn_heads=4,
    )

    def build():
        return LanguageModel(config, 11, make_generator(3, "weights")).double()

    batches = [make_batch(number, rows=2, tokens=7, num_targets=3 + 2 * number) for number in range(5)]
    trainer = make_trainer(build(), objective=next_token_objective, total_steps=3, accumulation_steps=2)
    decaying = {id(weight) for weight in trainer.optimizers[0].param_groups[0]["params"]}
    names = tuple(name for name, weight in trainer.model.named_parameters() if id(weight) in decaying)
    oracle = Oracle(build(), trainer.config, 3, names)
    results = list(trainer.steps(ListLoader(batches)))
    for first in (0, 2, 4):
        oracle.train_on(batches[first : first + 2])
    near = {"rtol": 1e-7, "atol": 1e-9}
    torch.testing.assert_close([result.loss for result in results], oracle.losses, **near)
    torch.testing.assert_close([result.gradient_norm for result in results], oracle.norms, **near)
    weights = trainer.state_dict()["weights"]
    torch.testing.assert_close(weights["model"], dict(oracle.model.state_dict()), **near)
    torch.testing.assert_close(weights["ema"], oracle.average, **near)
