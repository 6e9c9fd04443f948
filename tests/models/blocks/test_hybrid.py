"""The hybrid block: plain Mamba at birth, its formula afterwards; Mamba and attention are pinned in tests/layers."""

from dataclasses import replace

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.models.block import block_kind
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.settings.presets import PRESETS
from tests.models.blocks.by_hand import fire, rms_norm, trace
from tests.models.modes import SMALL, VOCAB_SIZE, all_modes, build_awake, describe, random_tokens

MODES = {
    "sequential": {"integration_mode": "sequential"},
    "parallel": {"integration_mode": "parallel"},
    "bidirectional": {"use_adaptive_gating": True},
    "cross-attention": {"use_cross_attention": True},
}
GATED = ("use_adaptive_gating", "use_cross_attention")
HYBRID_MODES = [config for config in all_modes() if config.use_mamba and set(config.block_kinds) == {"hybrid"}]
B, T, S = 2, 12, 24


def plain_mamba(model):
    """Return the plain Mamba made of a hybrid model's own weights."""
    kind = "mamba" if model.config.mamba_version == 1 else "mamba2"
    config = replace(model.config, block_pattern=kind, use_mamba=False, **dict.fromkeys(GATED, False))
    plain = LanguageModel(config, VOCAB_SIZE, torch.Generator())
    weights = model.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain


@pytest.mark.parametrize("config", HYBRID_MODES, ids=describe)
@torch.no_grad()
def test_at_birth_the_logits_are_those_of_the_plain_mamba_of_the_same_weights(config):
    model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
    tokens = random_tokens(2, 40)
    torch.testing.assert_close(model(tokens).logits_BTV, plain_mamba(model)(tokens).logits_BTV, rtol=0, atol=0)


@torch.no_grad()
def test_at_birth_the_logits_are_those_of_the_plain_mamba_2_with_every_flag_too():
    # Expand 3 gives it two heads.
    modes = {replace(config, mamba_version=2, mamba_expand=3) for config in HYBRID_MODES}
    assert len(modes) > 100
    for config in modes:
        model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
        tokens = random_tokens(2, 9)
        assert torch.equal(model(tokens).logits_BTV, plain_mamba(model)(tokens).logits_BTV), describe(config)


@pytest.mark.parametrize("config", HYBRID_MODES, ids=describe)
def test_couplings_at_birth_are_zero_and_learn_from_the_first_step(config):
    model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
    model(random_tokens(2, 40)).logits_BTV.square().sum().backward()
    for block in model.blocks:
        couplings = [block.spikes_gate, block.spikes_out]
        if block.mode != "parallel":
            couplings.append(block.spikes_select)
        if block.uses_attention:
            couplings += [block.spiking_reads_mamba.output.weight, block.mamba_reads_spiking.output.weight]
        assert not any(weight.any() for weight in couplings)
        assert all(weight.grad.any() for weight in couplings)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", ["sequential", "parallel", "bidirectional"])
@pytest.mark.parametrize("version", [1, 2])
def test_neurons_add_less_than_five_percent_to_the_parameters_of_a_plain_mamba(preset, mode, version):
    config = replace(
        PRESETS[preset]().model, integration_mode=mode, use_cross_attention=False, mamba_version=version, num_layers=1
    )
    blocks = [block_kind(kind).build(config) for kind in ("hybrid", "mamba" if version == 1 else "mamba2")]
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks]
    assert 1.0 < sizes[0] / sizes[1] < 1.05


@pytest.mark.parametrize(
    ("flags", "low", "high"),
    [
        ({"liquid_backbone": "cfc"}, 0.15, 0.25),
        ({"liquid_backbone": "ltc"}, 0.25, 0.3),
        ({"use_cross_attention": True}, 0.45, 0.6),
    ],
    ids=["cfc", "ltc", "cross-attention"],
)
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_what_adds_more_than_five_percent_adds_what_its_help_says(preset, flags, low, high):
    config = replace(PRESETS[preset]().model, use_cross_attention=False, num_layers=1)
    plain, without, with_it = (
        sum(p.numel() for p in block_kind(kind).build(config).parameters())
        for kind, config in (("mamba", config), ("hybrid", config), ("hybrid", replace(config, **flags)))
    )
    assert low < (with_it - without) / plain < high


def test_neurons_listen_and_send_no_gradient_into_mamba_through_their_currents():
    block = build_awake(ModelConfig(**SMALL, use_mamba=True)).blocks[0]
    x = torch.randn(B, T, 32, generator=make_generator(0, "input"), dtype=torch.float64)
    activity = block(x)[2]
    (activity.first_rate + activity.second_rate).backward()
    assert block.first_bias.grad.any()
    assert block.plastic.weight.grad.any()
    assert all(p.grad is None or not p.grad.any() for p in block.mixer.parameters())


def by_hand(block, x, mode):
    """Return the output and the last membrane of the second population, from the weights of a block."""
    u, mixer = rms_norm(x, block.norm.weight), block.mixer
    channels = mixer.channels(u)
    z1, _ = fire(2.0 * channels.x_BTE[..., :S] + block.first_bias, block.first.log_tau.exp().expand(B, T, -1))
    r1 = trace(z1)
    y, _ = mixer.scan(channels, selecting_BTS=None if mode == "parallel" else block.spikes_select * r1)
    drive, scale = z1 @ block.plastic.weight.T + block.second_bias, 1.0
    if mode == "sequential":
        drive = drive + block.mamba_to_second * y[..., S : 2 * S]
    elif mode != "parallel":
        scale = 0.5 + torch.sigmoid(block.mamba_to_second * y[..., S : 2 * S])
    z2, last = fire(drive, (block.second.log_tau.exp() * scale).expand(B, T, -1))
    z, r = (z2, z2) if mode == "sequential" else (torch.cat([z1, z2], -1), torch.cat([r1, z2], -1))
    q = mixer.gated(y, channels)
    s = block.spikes_gate * z * q[..., : z.shape[-1]] + block.spikes_out * r
    s = torch.nn.functional.pad(s, (0, q.shape[-1] - s.shape[-1])) @ mixer.out_proj.weight.T
    m = q @ mixer.out_proj.weight.T
    if mode == "cross-attention":
        from_mamba, _ = block.spiking_reads_mamba(rms_norm(r), rms_norm(m))
        from_spiking, _ = block.mamba_reads_spiking(rms_norm(m), rms_norm(r))
        s, m = s + from_mamba, m + from_spiking
    scores, heads = block.path_gate.bias.expand(B, T, 4), u.unflatten(-1, (4, -1))
    if block.path_gate.weight is not None:
        scores = scores + torch.einsum("bthd,hd->bth", heads, block.path_gate.weight)
    return x + m + torch.sigmoid(scores).repeat_interleave(x.shape[-1] // 4, dim=-1) * s, last


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_a_block_computes_its_formula(mode):
    block = build_awake(ModelConfig(**SMALL, use_mamba=True, **MODES[mode])).blocks[0]
    x = torch.randn(B, T, 32, generator=make_generator(0, "input"), dtype=torch.float64)
    expected, last_membrane = by_hand(block, x, mode)
    output, state, activity = block(x)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(state.second_BS, last_membrane, rtol=0, atol=1e-9)
    assert 0.01 < activity.post_spikes_BTS.mean() < 0.9


@torch.no_grad()
def test_mamba_steers_time_constants_between_a_half_and_one_and_a_half_times():
    block = build_awake(ModelConfig(**SMALL, use_mamba=True)).blocks[0]
    block.plastic.weight.zero_()
    block.second_bias.zero_()
    x = torch.randn(1, 1, 32, generator=make_generator(1, "input"), dtype=torch.float64)
    charged = block(x)[1]._replace(second_BS=torch.full((1, S), 0.8, dtype=torch.float64), mamba=None)
    scales = []
    for weight in (0.0, 1e9, -1e9):
        block.mamba_to_second.fill_(weight)
        kept = block(x, state=charged)[1].second_BS / 0.8
        scales.append((-1.0 / torch.log(kept) / block.second.log_tau.exp()).flatten())
    torch.testing.assert_close(scales[0], torch.ones(S, dtype=torch.float64))
    torch.testing.assert_close(torch.minimum(*scales[1:]), torch.full((S,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(torch.maximum(*scales[1:]), torch.full((S,), 1.5, dtype=torch.float64))


@torch.no_grad()
def test_activity_holds_the_mean_rates_and_the_gate_of_the_spiking_path():
    block = build_awake(ModelConfig(**SMALL, use_mamba=True)).blocks[0]
    block.path_gate.bias.fill_(-2.0)
    x = torch.randn(B, T, 32, generator=make_generator(0, "input"), dtype=torch.float64)
    activity = block(x)[2]
    assert activity.first_rate.item() == pytest.approx(activity.pre_spikes_BTS.sum().item() / (B * T * S))
    assert activity.second_rate.item() == pytest.approx(activity.post_spikes_BTS.sum().item() / (B * T * S))
    assert activity.gate.tolist() == pytest.approx([0.1192029] * 4)


def test_more_neurons_than_channels_are_refused_with_the_number_that_fits():
    config = ModelConfig(hidden_dim=16, num_layers=1, spiking_units=40, use_mamba=True)
    with pytest.raises(UserError, match="32 inner channels") as raised:
        LanguageModel(config, VOCAB_SIZE, torch.Generator())
    assert "--spiking-units 16" in str(raised.value)
