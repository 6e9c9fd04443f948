"""What a micro-batch asks of a GPU, counted on the meta device."""

from dataclasses import replace
from functools import cache

import torch

from mambrane.models.cost import count_costs
from mambrane.ops.dispatch import OPERATIONS
from mambrane.planning.gpu_time import predict
from mambrane.planning.rehearsal import META, Rehearsal, loops_over_tokens, rehearse
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.build import build_model
from mambrane.settings.config import RunConfig
from mambrane.settings.presets import PRESETS, base, tiny

MIB = 2**20


def of(config: RunConfig, **settings: object) -> RunConfig:
    return replace(config, model=replace(config.model, **settings))


@cache
def rehearsed(num_layers: int, precision: str = "bf16", checkpoint_activations: bool = False) -> Rehearsal:
    config = of(base(), num_layers=num_layers)
    engine = replace(config.engine, checkpoint_activations=checkpoint_activations)
    return rehearse(replace(config, engine=engine), 8192, precision)


def of_base(count: str) -> float:
    """Return a count of the base preset from one and two layers: all layers ask for the same."""
    counts = {
        "eager": lambda found: len(found.kernels),
        "compiled": lambda found: len(found.fused()),
        "saved": lambda found: found.saved_bytes,
    }
    one, two = (counts[count](rehearsed(layers)) for layers in (1, 2))
    return one + (base().model.num_layers - 1) * (two - one)


def test_a_base_micro_batch_starts_at_most_2500_kernels_and_1100_compiled():
    assert of_base("eager") <= 2500
    assert of_base("compiled") <= 1100


def test_a_layer_keeps_at_most_90_mib_for_its_backward_pass():
    assert (rehearsed(2).saved_bytes - rehearsed(1).saved_bytes) / MIB <= 90


def test_the_state_space_form_of_mamba_2_is_five_kernels_and_keeps_nothing_of_pairs_of_tokens():
    config = of(base(), num_layers=1, mamba_version=2, mamba_d_state=128)
    found = rehearse(config, 300, "bf16")
    names = [kernel.name for kernel in found.kernels if kernel.name.startswith("ssd.")]
    assert names == [
        *("ssd.pass_states", "ssd.outputs"),
        *("ssd.pass_states", "ssd.read_gradients", "ssd.write_gradients"),
    ]
    assert not any("bmm" in kernel.name for kernel in found.kernels)
    without = of(base(), num_layers=1, mamba_version=1)
    assert found.saved_bytes < 1.4 * rehearse(without, 300, "bf16").saved_bytes


def test_all_layers_ask_for_the_same():
    counts = [len(rehearsed(layers).kernels) for layers in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


def test_the_arithmetic_is_that_of_the_layers_three_times_and_little_more():
    config = of(tiny(), use_cross_attention=False)
    found = rehearse(config, 300, "fp32")
    with META:
        model = build_model(config, 300)
    macs = sum(cost.dense_macs_per_token + cost.spike_macs_per_token for cost in count_costs(model))
    assert 1 <= found.flops / (2 * found.tokens) / (3 * macs) < 1.05
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_autocast_casts_and_halves_what_products_keep():
    half, whole = rehearsed(1), rehearsed(1, "fp32")
    casts = [sum(kernel.name == "aten::_to_copy" for kernel in each.kernels) for each in (half, whole)]
    assert casts[0] > casts[1] + 20
    assert half.saved_bytes < whole.saved_bytes
    assert half.flops == whole.flops


def test_blocks_that_run_again_keep_less_and_ask_for_more():
    plain, again = rehearsed(2), rehearsed(2, checkpoint_activations=True)
    assert again.saved_bytes < 0.7 * plain.saved_bytes
    assert len(again.kernels) > len(plain.kernels)


def test_fused_kernels_move_no_more_than_they_did_apart():
    found = rehearsed(1)
    fused = found.fused()
    assert sum(kernel.num_bytes for kernel in fused) < sum(kernel.num_bytes for kernel in found.kernels)
    assert sum(kernel.flops for kernel in fused) == found.flops


def test_our_kernels_are_those_of_a_gpu():
    names = {kernel.name for kernel in rehearsed(1).kernels if kernel.kind == "ours"}
    assert {"selective_scan.chunk_gradients", "lif.forward", "causal_conv.forward", "causal_trace.backward"} <= names


def test_a_rehearsal_draws_no_random_number():
    before = torch.get_rng_state()
    rehearse(of(tiny(), dropout=0.1), 300, "bf16")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_prediction_of_the_base_preset_is_above_its_target():
    config = base()
    found = rehearse(config, 8192, "bf16")
    assert predict(config, found).tokens_per_s >= 95_000
    assert predict(config, found, compiled=True).tokens_per_s >= 150_000


def test_large_and_xl_have_the_size_that_they_say():
    for name, least, most in (("large", 320e6, 380e6), ("xl", 1.2e9, 1.45e9)):
        with META:
            model = build_model(PRESETS[name](), 32_768)
        assert least < sum(parameter.numel() for parameter in model.parameters()) < most


def test_a_cell_without_a_gpu_kernel_is_not_rehearsed_token_by_token():
    assert loops_over_tokens(base()) == []
    for name in ("cfc", "ltc"):
        config = of(replace(base(), plasticity=PlasticityConfig()), liquid_backbone=name)
        assert loops_over_tokens(config) == [name] * ("triton" not in OPERATIONS[name])
