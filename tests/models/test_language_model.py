"""The model is causal, its state is a value, documents do not see each other: for every combination of modes."""

import pytest
import torch
from torch.nn import functional

from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from tests.models.modes import SMALL, VOCAB_SIZE, all_modes, build_awake, describe, random_tokens

every_mode = pytest.mark.parametrize("config", all_modes(), ids=describe)
# Float64 rounding grows through two blocks of recurrences; a flipped spike would show as 1e-2 or more.
ROUNDING = 1e-9


@every_mode
@torch.no_grad()
def test_a_token_changes_no_logit_before_it_bit_for_bit(config):
    model = build_awake(config)
    tokens = random_tokens(2, 21)
    resets = torch.zeros(2, 21, dtype=torch.bool)
    resets[0, 5] = True
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % VOCAB_SIZE
    before, after = (model(t, resets_BT=resets).logits_BTV for t in (tokens, changed))
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.equal(before[:, 11:], after[:, 11:])


@every_mode
@torch.no_grad()
def test_pieces_and_single_steps_give_the_numbers_of_the_whole(config):
    model = build_awake(config)
    tokens = random_tokens(2, 23)
    resets = torch.zeros(2, 23, dtype=torch.bool)
    resets[0, 7], resets[1, 0] = True, True
    whole = model(tokens, resets_BT=resets).logits_BTV
    state, pieces = None, []
    for start, end in ((0, 1), (1, 9), (9, 20)):
        output = model(tokens[:, start:end], state=state, resets_BT=resets[:, start:end])
        state = output.state
        pieces.append(output.logits_BTV)
    for position in range(20, 23):
        output = model.step(tokens[:, position], state)
        state = output.state
        pieces.append(output.logits_BTV)
    assert torch.allclose(torch.cat(pieces, dim=1), whole, rtol=0, atol=ROUNDING)


@every_mode
@torch.no_grad()
def test_a_reset_forgets_everything_before_it(config):
    model = build_awake(config)
    tokens = random_tokens(2, 19)
    resets = torch.zeros(2, 19, dtype=torch.bool)
    resets[:, 8] = True
    packed = model(tokens, resets_BT=resets).logits_BTV[:, 8:]
    alone = model(tokens[:, 8:]).logits_BTV
    assert torch.allclose(packed, alone, rtol=0, atol=ROUNDING)


@every_mode
@torch.no_grad()
def test_a_sequence_does_not_see_the_others_of_its_batch(config):
    model = build_awake(config)
    tokens = random_tokens(3, 12)
    changed = tokens.clone()
    changed[1] = (changed[1] + 1) % VOCAB_SIZE
    before, after = model(tokens).logits_BTV, model(changed).logits_BTV
    assert torch.equal(before[[0, 2]], after[[0, 2]])


@every_mode
def test_every_parameter_learns(config):
    model = build_awake(config)
    model(random_tokens(2, 12)).logits_BTV.square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


SWITCHES = {
    "use_mamba": (ModelConfig(**SMALL), {"use_mamba": True}),
    "adaptive gating": (ModelConfig(**SMALL, use_mamba=True), {"use_adaptive_gating": True}),
    "cross-attention": (ModelConfig(**SMALL, use_mamba=True), {"use_cross_attention": True}),
    "sequential": (ModelConfig(**SMALL, use_mamba=True), {"integration_mode": "sequential"}),
    "parallel": (ModelConfig(**SMALL, use_mamba=True), {"integration_mode": "parallel"}),
    "rate": (ModelConfig(**SMALL, use_mamba=True), {"spike_to_mamba_method": "rate"}),
    "potential": (ModelConfig(**SMALL, use_mamba=True), {"spike_to_mamba_method": "potential"}),
    "temporal tau": (ModelConfig(**SMALL, use_mamba=True), {"spike_temporal_tau": 3.0}),
    "threshold": (ModelConfig(**SMALL), {"spike_threshold": 0.5}),
    "reset": (ModelConfig(**SMALL), {"spike_reset": "zero"}),
    "ticks": (ModelConfig(**SMALL), {"num_spike_steps": 3}),
    "cfc": (ModelConfig(**SMALL), {"liquid_backbone": "cfc"}),
    "ltc": (ModelConfig(**SMALL), {"liquid_backbone": "ltc"}),
    "mamba version": (ModelConfig(**SMALL, use_mamba=True), {"mamba_version": 2}),
    "version 2 d_state": (ModelConfig(**SMALL, use_mamba=True, mamba_version=2), {"mamba_d_state": 4}),
    "version 2 d_conv": (ModelConfig(**SMALL, use_mamba=True, mamba_version=2), {"mamba_d_conv": 2}),
    "expand": (ModelConfig(**SMALL, use_mamba=True), {"mamba_expand": 3}),
    "d_state": (ModelConfig(**SMALL, use_mamba=True), {"mamba_d_state": 4}),
    "d_conv": (ModelConfig(**SMALL, use_mamba=True), {"mamba_d_conv": 2}),
    "block pattern": (ModelConfig(**SMALL), {"block_pattern": "hybrid,mamba"}),
    "d_state of plain Mamba": (ModelConfig(**SMALL, block_pattern="mamba"), {"mamba_d_state": 4}),
    "gate heads": (ModelConfig(**SMALL, use_mamba=True, use_adaptive_gating=True), {"num_gate_heads": 2}),
    "attention heads": (ModelConfig(**SMALL, use_mamba=True, use_cross_attention=True), {"cross_attn_heads": 2}),
    "head of its own": (ModelConfig(**SMALL, use_mamba=True), {"tie_embeddings": False}),
    "vocabulary": (ModelConfig(**SMALL, use_mamba=True), {"vocab_size": VOCAB_SIZE + 8}),
    "rank of the step size": (ModelConfig(**SMALL, use_mamba=True), {"mamba_dt_rank": 5}),
    "head channels": (ModelConfig(**SMALL, use_mamba=True, mamba_version=2), {"mamba_head_dim": 16}),
    "groups": (ModelConfig(**SMALL, use_mamba=True, mamba_version=2, mamba_head_dim=16), {"mamba_groups": 2}),
    "attention window": (ModelConfig(**SMALL, use_mamba=True, use_cross_attention=True), {"cross_attn_window": 3}),
}


@pytest.mark.parametrize("name", SWITCHES)
@torch.no_grad()
def test_each_switch_changes_the_logits(name):
    from dataclasses import replace

    config, change = SWITCHES[name]
    tokens = random_tokens(2, 24)
    off, on = (build_awake(c)(tokens).logits_BTV for c in (config, replace(config, **change)))
    assert not torch.equal(off, on)


DROPPING = {"plain": {}, "hybrid": {"use_mamba": True}, "mixed": {"block_pattern": "hybrid,mamba"}}


@pytest.mark.parametrize("parts", DROPPING.values(), ids=DROPPING)
@torch.no_grad()
def test_dropout_changes_training_and_nothing_else(parts):
    tokens = random_tokens(2, 24)
    off, on = (build_awake(ModelConfig(**SMALL, **parts, dropout=p)) for p in (0.0, 0.2))
    assert all(torch.equal(a, b) for a, b in zip(off.parameters(), on.parameters(), strict=True))
    plain = off.train()(tokens).logits_BTV
    assert not torch.equal(on.train()(tokens).logits_BTV, plain)
    assert torch.equal(on.eval()(tokens).logits_BTV, plain)
    assert torch.equal(off.eval()(tokens).logits_BTV, plain)


def test_without_dropout_the_model_holds_nothing_of_it():
    assert not any("dropout" in name for name in build_awake(ModelConfig(**SMALL)).state_dict())
    assert sum("dropout" in name for name in build_awake(ModelConfig(**SMALL, dropout=0.1)).state_dict()) == 3


@pytest.mark.parametrize("change", [{"surrogate": "atan"}, {"surrogate_slope": 2.0}, {"detach_reset": True}], ids=str)
def test_settings_of_the_backward_pass_change_gradients_and_no_logit(change):
    from dataclasses import replace

    config = ModelConfig(**SMALL)
    tokens = random_tokens(2, 24)
    off, on = build_awake(config), build_awake(replace(config, **change))
    logits = [model(tokens).logits_BTV for model in (off, on)]
    assert torch.equal(*logits)
    for values in logits:
        values.square().sum().backward()
    assert not torch.equal(off.blocks[0].input.weight.grad, on.blocks[0].input.weight.grad)


@torch.no_grad()
def test_spikes_are_exactly_zero_or_one_and_neurons_fire_from_the_start():
    model = LanguageModel(ModelConfig(**SMALL, use_mamba=True), VOCAB_SIZE, make_generator(0, "weights"))
    for activity in model(random_tokens(4, 64)).activity:
        for spikes in (activity.pre_spikes_BTS, activity.post_spikes_BTS):
            assert ((spikes == 0) | (spikes == 1)).all()
            assert 0.02 < spikes.mean() < 0.4


@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_the_state_has_the_same_size_after_one_token_and_after_a_hundred(version):
    config = ModelConfig(**SMALL, use_mamba=True, mamba_version=version, use_cross_attention=True)
    model = build_awake(config)

    def num_numbers(tree):
        if tree is None:
            return 0
        return tree.numel() if isinstance(tree, torch.Tensor) else sum(map(num_numbers, tree))

    sizes = {num_numbers(model(random_tokens(1, length)).state) for length in (1, 100)}
    assert len(sizes) == 1


@torch.no_grad()
def test_equal_seeds_give_equal_weights_and_unequal_ones_do_not():
    models = [LanguageModel(ModelConfig(**SMALL), VOCAB_SIZE, make_generator(s, "weights")) for s in (0, 0, 1)]
    first, second, other = (torch.cat([p.flatten() for p in m.parameters()]) for m in models)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_no_weight_is_born_non_finite():
    for config in all_modes():
        model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
        assert all(parameter.isfinite().all() for parameter in model.parameters()), describe(config)


@every_mode
@torch.no_grad()
def test_float32_products_of_the_device_are_causal_too(config):
    model = build_awake(config).float()
    tokens = random_tokens(2, 40)
    changed = tokens.clone()
    changed[:, 25] = (changed[:, 25] + 1) % VOCAB_SIZE
    before, after = (model(t).logits_BTV for t in (tokens, changed))
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


def test_with_targets_it_returns_the_nats_of_its_logits():
    model = build_awake(all_modes()[0])
    tokens, targets = random_tokens(2, 9), random_tokens(2, 9).roll(-1, dims=1)
    targets[0, 3] = IGNORED_TARGET
    output = model(tokens, targets_BT=targets)
    assert output.logits_BTV is None
    expected = functional.cross_entropy(model(tokens).logits_BTV.transpose(1, 2), targets, reduction="none")
    torch.testing.assert_close(output.nats_BT, expected)


@torch.no_grad()
def test_a_pattern_that_spells_out_the_default_changes_no_bit():
    from dataclasses import replace

    config = ModelConfig(**SMALL, use_mamba=True)
    models = [
        LanguageModel(c, VOCAB_SIZE, make_generator(0, "weights"))
        for c in (config, replace(config, block_pattern="hybrid,hybrid"))
    ]
    weights = [model.state_dict() for model in models]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(*(model(random_tokens(2, 12)).logits_BTV for model in models))


def test_parameters_keep_the_names_under_which_checkpoints_hold_them():
    model = LanguageModel(ModelConfig(**SMALL, use_mamba=True), VOCAB_SIZE, make_generator(0, "weights"))
    names = set(model.state_dict())
    assert {"embedding.weight", "norm.weight", "blocks.0.norm.weight", "blocks.1.plastic.weight"} <= names
    assert {"blocks.0.mixer.A_log", "blocks.0.spikes_out", "blocks.1.first.log_tau"} <= names
    spiking = LanguageModel(ModelConfig(**SMALL), VOCAB_SIZE, make_generator(0, "weights"))
    assert {"blocks.0.input.weight", "blocks.0.adapter.projection.weight", "blocks.1.readout.weight"} <= set(
        spiking.state_dict()
    )


@torch.no_grad()
def test_only_blocks_that_have_them_report_spikes_and_plastic_synapses():
    model = build_awake(ModelConfig(**SMALL, block_pattern="mamba,hybrid"))
    activity = model(random_tokens(2, 12)).activity
    assert activity[0] == (None,) * 5
    assert list(model.plastic_synapses()) == ["blocks.1.plastic.weight"]
    pre, post = model.synapse_spikes(activity)["blocks.1.plastic.weight"]
    assert torch.equal(pre, activity[1].pre_spikes_BTS)
    assert torch.equal(post, activity[1].post_spikes_BTS)
