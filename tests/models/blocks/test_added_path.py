"""With the spiking path added, a model is at birth the plain Mamba of its weights, whatever else is switched on."""

import itertools

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from tests.models.modes import SMALL, VOCAB_SIZE, random_tokens

COMBINATIONS = [
    {
        "mamba_version": version,
        "integration_mode": mode,
        "spike_to_mamba_method": method,
        "use_adaptive_gating": gating,
        "use_cross_attention": gating and mode == "bidirectional",
        "liquid_backbone": backbone,
    }
    for version, mode, method, (gating, backbone) in itertools.product(
        (1, 2), ("sequential", "parallel", "bidirectional"), ("rate", "temporal"), ((False, "lif"), (True, "cfc"))
    )
]


def model_of(options):
    config = ModelConfig(**SMALL, use_mamba=True, spiking_path="added", **options)
    return LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights")).double()


def plain_twin(model):
    """Return plain Mamba blocks with the weights of the model's Mamba paths."""
    pattern = "mamba" if model.config.mamba_version == 1 else "mamba2"
    twin = LanguageModel(ModelConfig(**SMALL, block_pattern=pattern), VOCAB_SIZE, torch.Generator()).double()
    renamed = {name.replace(".mamba.", ".mixer."): value for name, value in model.state_dict().items()}
    twin.load_state_dict({name: renamed[name] for name in twin.state_dict()})
    return twin


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: "-".join(map(str, options.values())))
@torch.no_grad()
def test_at_birth_it_is_the_plain_mamba_of_its_weights(options):
    model, tokens = model_of(options), random_tokens(2, 9)
    torch.testing.assert_close(model(tokens).logits_BTV, plain_twin(model)(tokens).logits_BTV, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["sequential", "parallel", "bidirectional"])
def test_the_ways_out_of_the_spikes_learn_from_the_first_step(mode):
    model = model_of({"integration_mode": mode})
    model(random_tokens(2, 9)).logits_BTV.square().mean().backward()
    block = model.blocks[0]
    assert block.output.weight.grad.any()
    assert (
        block.adapter.projection.weight.grad is None or mode == "parallel" or block.adapter.projection.weight.grad.any()
    )


@torch.no_grad()
def test_spikes_change_the_output_once_a_way_out_has_learned():
    model, tokens = model_of({}), random_tokens(2, 9)
    before = model(tokens).logits_BTV
    model.blocks[0].output.weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model(tokens).logits_BTV, before)
