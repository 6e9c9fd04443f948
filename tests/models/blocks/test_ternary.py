"""Claims about Mambas whose large products read spikes: what they add up, and how it is counted."""

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.measure.energy import estimate_energy
from mambrane.models.config import ModelConfig
from mambrane.models.cost import FiringRates, count_costs
from mambrane.models.language_model import LanguageModel
from mambrane.models.token_program.program import why_no_program

LEVELS = {"ternary": 1, "counts": 4}


def model_of(kind: str, **settings: int) -> LanguageModel:
    sizes = {"hidden_dim": 32, "num_layers": 1, **settings}
    return LanguageModel(ModelConfig(block_pattern=kind, **sizes), 17, make_generator(0, "weights"))


@pytest.mark.parametrize("kind", LEVELS)
def test_both_large_products_read_whole_numbers_times_one_factor_a_token(kind: str):
    model, seen = model_of(kind), []
    mixer = model.stack[0].mixer
    parts = mixer.in_proj.parts
    mixer.in_proj.parts = lambda x, sizes: (seen.append(x), parts(x, sizes))[1]
    mixer.out_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    activity = model(torch.randint(17, (2, 9))).activity[0]
    assert len(seen) == 2
    for x, rate in zip(seen, (activity.first_rate, activity.second_rate), strict=True):
        # The smallest number that is not zero may be one, two, ... factors: all are whole multiples of some factor.
        factors = [x.abs() / x.abs().amax(-1, keepdim=True) * level for level in range(1, LEVELS[kind] + 1)]
        errors = torch.stack([(each - each.round()).abs().amax(-1) for each in factors])
        assert errors.amin(dim=0).max() < 1e-4
        assert 0.2 < rate < LEVELS[kind]


@pytest.mark.parametrize("kind", LEVELS)
def test_at_least_four_fifths_of_the_products_are_additions_and_energy_follows_the_rates(kind: str):
    model = model_of(kind, hidden_dim=128, num_layers=7)
    costs = count_costs(model, [FiringRates(0.5, 0.25)] * 7)
    estimate = estimate_energy(costs)
    assert estimate.spike_share >= 0.8
    into, out = 128 * 512, 256 * 128
    assert sum(cost.synaptic_operations_per_token for cost in costs) == pytest.approx(7 * (0.5 * into + 0.25 * out))
    plain = count_costs(model_of("mamba", hidden_dim=128, num_layers=7))
    products = [sum(c.dense_macs_per_token + c.spike_macs_per_token for c in each) for each in (costs, plain)]
    assert products[0] == products[1]
    assert [sum(c.parameters for c in each) for each in (costs, plain)] == [
        sum(p.numel() for p in model.parameters())
    ] * 2


def test_every_weight_learns_and_the_plain_mamba_is_another_model():
    model = model_of("ternary")
    tokens = torch.randint(17, (2, 9), generator=torch.Generator().manual_seed(0))
    logits = model(tokens).logits_BTV
    logits.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    assert not torch.equal(logits, model_of("mamba")(tokens).logits_BTV)


def test_they_are_written_token_by_token_without_a_program():
    assert "SpikeCountBlock has none" in why_no_program(model_of("ternary"))
