"""Initial values by their statistics: every kind of parameter against the number that its source or DESIGN gives."""

import math
import re

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

D, S, N, E, R, VOCAB, LAYERS, INNER = 64, 48, 8, 128, 4, 300, 4, 32


def uniform(fan_in, gain=1.0):
    """Return mean and standard deviation of torch's default for products: uniform within 1 / sqrt(fan in)."""
    return 0.0, gain / math.sqrt(3 * fan_in)


LOG_STEP_MEAN, LOG_STEP_STD = math.log(1e-2), math.log(100) / math.sqrt(12)

SPIKING = {
    r"embedding\.weight": (0.0, 0.1),
    r".*norm\.weight": (1.0, 0.0),
    r".*\.input\.weight": uniform(D, gain=2.0),
    r".*\.log_tau": (math.log(4.0), 0.0),
    r".*\.adapter\.projection\.weight": uniform(S),
    r".*\.plastic\.weight": (0.0, 2.0 / math.sqrt(S)),
    r".*\.readout\.weight": uniform(S),
}
HYBRID = {
    r"embedding\.weight": (0.0, 0.02),
    r".*norm\.weight": (1.0, 0.0),
    r".*\.log_tau": (math.log(4.0), 0.0),
    r".*\.plastic\.weight": (0.0, 2.0 / math.sqrt(S)),
    r".*\.mixer\.in_proj\.weight": uniform(D),
    r".*\.mixer\.conv1d\.(weight|bias)": uniform(4),
    r".*\.mixer\.x_proj\.weight": uniform(E),
    r".*\.mixer\.dt_proj\.weight": (0.0, R**-0.5 / math.sqrt(3)),
    r".*\.mixer\.D": (1.0, 0.0),
    r".*\.mixer\.out_proj\.weight": uniform(E, gain=1 / math.sqrt(LAYERS)),
    r".*\.(first|second)_bias": (0.0, 0.0),
    r".*\.(spikes_(gate|out|select)|mamba_to_second)": (0.0, 0.0),
    r".*\.path_gate\.(bias|weight)": (0.0, 0.0),
    r".*\.spiking_reads_mamba\.query\.weight": uniform(2 * S),
    r".*\.mamba_reads_spiking\.key_value\.weight": uniform(2 * S),
    r".*\.(mamba_reads_spiking\.query|spiking_reads_mamba\.key_value)\.weight": uniform(D),
    r".*_reads_(mamba|spiking)\.output\.weight": (0.0, 0.0),
}
"""Mean and standard deviation by name; A_log, the step's bias and the output of a spiking block have own checks."""
OWN_CHECK = r".*\.mixer\.A_log|.*\.mixer\.dt_proj\.bias|blocks\.\d\.output\.weight"


SIZES = {"hidden_dim": D, "num_layers": LAYERS, "spiking_units": S, "mamba_d_state": N}
ALL_ON = dict.fromkeys(("use_mamba", "use_adaptive_gating", "use_cross_attention"), True)


def hybrid(**switches):
    config = ModelConfig(**SIZES, **switches)
    return LanguageModel(config, VOCAB, make_generator(0, "weights"))


def kinds(model):
    """Return all numbers of each kind of parameter: blocks together."""
    numbers = {}
    for name, parameter in model.named_parameters():
        numbers.setdefault(re.sub(r"\.\d+\.", ".0.", name), []).append(parameter.detach().flatten())
    return {name: torch.cat(parts) for name, parts in numbers.items()}


@pytest.mark.parametrize(("switches", "table"), [({}, SPIKING), (ALL_ON, HYBRID)], ids=["spiking", "hybrid"])
def test_every_kind_of_parameter_has_its_mean_and_standard_deviation(switches, table):
    for name, numbers in kinds(hybrid(**switches)).items():
        if re.fullmatch(OWN_CHECK, name):
            continue
        ((mean, std),) = [expected for pattern, expected in table.items() if re.fullmatch(pattern, name)]
        assert numbers.std(correction=0).item() == pytest.approx(std, rel=0.08, abs=1e-6), name
        assert numbers.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(len(numbers)) + 1e-6), name


@torch.no_grad()
def test_mamba_starts_with_published_decays_and_step_sizes():
    numbers = kinds(hybrid(**ALL_ON))
    assert numbers["blocks.0.mixer.A_log"].exp().reshape(-1, N)[0].tolist() == pytest.approx(range(1, N + 1))
    log_steps = numbers["blocks.0.mixer.dt_proj.bias"].exp().log1p().log()
    assert log_steps.mean().item() == pytest.approx(LOG_STEP_MEAN, abs=0.25)
    assert log_steps.std().item() == pytest.approx(LOG_STEP_STD, rel=0.1)


@pytest.mark.parametrize("num_layers", [1, 4])
def test_the_output_of_a_block_is_the_identity_over_the_root_of_the_number_of_layers(num_layers):
    config = ModelConfig(hidden_dim=8, num_layers=num_layers, spiking_units=4)
    for block in LanguageModel(config, 5, make_generator(0, "weights")).blocks:
        expected = torch.eye(8) * {1: 1.0, 4: 0.5}[num_layers]
        assert torch.allclose(block.output.weight, expected)


@torch.no_grad()
def test_a_plain_mamba_model_starts_as_published():
    config = ModelConfig(block_pattern="mamba", hidden_dim=D, num_layers=4)
    model = LanguageModel(config, VOCAB, make_generator(0, "weights"))
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.03)
    for mixer in (block.mixer for block in model.blocks):
        # Divided by the root of the number of layers, so that the stream does not grow with depth.
        assert mixer.out_proj.weight.std().item() == pytest.approx(0.5 / math.sqrt(3 * E), rel=0.05)
        assert mixer.in_proj.weight.std().item() == pytest.approx(1 / math.sqrt(3 * D), rel=0.05)
