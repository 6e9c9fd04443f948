"""Claims about STDP inside a model: when it acts, what bounds it, and what survives a restart."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import AfterStep
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import BlockActivity, ModelOutput
from mambrane.plasticity import rules
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.stdp import HOMEOSTATIC_GAIN, MAX_CONSOLIDATION, Stdp
from mambrane.storage.state_files import decode_state, encode_state
from tests.plasticity.conftest import act

RULES = ("classical", "triplet", "bcm", "homeostatic")
CONFIG = PlasticityConfig(
    use_stdp=True, stdp_learning_rate=0.01, stdp_tau_plus=6.0, stdp_tau_minus=9.0, stdp_max_weight=20.0
)


def plastic_weights(model: LanguageModel) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in model.plastic_synapses().values()]


def change_of(model: LanguageModel, stdp: Stdp, view: object) -> list[torch.Tensor]:
    before = plastic_weights(model)
    act(stdp, view)
    return [after - old for old, after in zip(before, plastic_weights(model), strict=True)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_rule_changes_every_plastic_synapse_at_any_batch_size(
    rule: str, batch_size: int, build_model: Callable, text: Callable, view_of: Callable
):
    model = build_model()
    others = {name: w.clone() for name, w in model.state_dict().items() if "plastic" not in name}
    stdp = Stdp(replace(CONFIG, stdp_type=rule), model)
    changes = change_of(model, stdp, view_of(model, text(1, batch_size)))
    assert all(change.abs().max() > 0 for change in changes)
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in others.items())


def test_the_four_rules_differ(build_model: Callable, text: Callable, view_of: Callable):
    changes = []
    for rule in RULES:
        model = build_model()
        changes.append(change_of(model, Stdp(replace(CONFIG, stdp_type=rule), model), view_of(model, text(1)))[0])
    for index, change in enumerate(changes):
        assert not any(torch.allclose(change, other) for other in changes[:index])


@pytest.mark.parametrize("rule", RULES)
def test_learning_rate_zero_leaves_every_bit(rule: str, build_model: Callable, text: Callable, view_of: Callable):
    model = build_model()
    config = replace(CONFIG, stdp_type=rule, stdp_learning_rate=0.0, use_meta_plasticity=True)
    stdp = Stdp(config, model)
    for seed in range(3):
        assert all(not change.any() for change in change_of(model, stdp, view_of(model, text(seed))))


def test_the_change_is_the_rule_averaged_over_the_tokens_of_the_step(
    build_model: Callable, text: Callable, view_of: Callable
):
    model = build_model()
    batches = [text(1), text(2, batch_size=3, padding=15)]
    view = view_of(model, *batches)
    stdp = Stdp(replace(CONFIG, stdp_type="classical"), model)
    for index, change in enumerate(change_of(model, stdp, view)):
        expected = torch.zeros_like(change)
        for batch, activity in zip(batches, view.activities, strict=True):
            counted = (batch.targets_BT != -100).float()[..., None]
            spikes = ([activity[index].pre_spikes_BTS * counted], [activity[index].post_spikes_BTS * counted])
            trains = rules.SpikeTrains(*spikes, batch.resets_BT, tau_plus_ticks=6.0, tau_minus_ticks=9.0)
            part = rules.pair(trains)
            expected += (part.potentiation_NUS - part.depression_NUS)[0]
        expected *= 0.01 / sum(batch.num_targets for batch in batches)
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-7)


def test_micro_batches_add_up_to_the_large_batch(build_model: Callable, text: Callable, view_of: Callable):
    changes = []
    for sizes in ((6,), (2, 4)):
        model = build_model()
        whole = text(1, batch_size=6)
        parts = [MicroBatch(*(t.split(sizes)[i] for t in whole)) for i in range(len(sizes))]
        changes.append(change_of(model, Stdp(CONFIG, model), view_of(model, *parts)))
    for whole, split in zip(*changes, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-7)


def test_padding_teaches_nothing(build_model: Callable, text: Callable, view_of: Callable):
    model, padded_model = build_model(), build_model()
    short = text(1, batch_size=1, length=25)
    padding = torch.full((1, 15), 16)
    padded = MicroBatch(
        torch.cat([short.inputs_BT, padding], dim=1),
        torch.cat([short.targets_BT, torch.full_like(padding, -100)], dim=1),
        torch.cat([short.resets_BT, padding == 16], dim=1),
    )
    change = change_of(model, Stdp(CONFIG, model), view_of(model, short))
    padded_change = change_of(padded_model, Stdp(CONFIG, padded_model), view_of(padded_model, padded))
    for one, other in zip(change, padded_change, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_with_several_ticks_a_token_time_constants_and_rates_are_still_per_token(
    build_model: Callable, text: Callable, view_of: Callable
):
    model = build_model(num_spike_steps=3)
    batch = text(1)
    view = view_of(model, batch)
    resets = torch.zeros(4, 120, dtype=torch.bool)
    resets[:, ::3] = batch.resets_BT
    stdp = Stdp(replace(CONFIG, stdp_type="classical"), model)
    change = change_of(model, stdp, view)[0]
    activity = view.activities[0][0]
    spikes = ([activity.pre_spikes_BTS], [activity.post_spikes_BTS])
    part = rules.pair(rules.SpikeTrains(*spikes, resets, tau_plus_ticks=18.0, tau_minus_ticks=27.0))
    expected = 0.01 * (part.potentiation_NUS - part.depression_NUS)[0] / batch.num_targets
    torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("bounds", ["hard", "soft"])
def test_weights_stay_inside_the_bounds(bounds: str, build_model: Callable, text: Callable, view_of: Callable):
    model = build_model()
    # At soft bounds a step must be smaller than the room that is left, as with any learning rate in use.
    rate = 100.0 if bounds == "hard" else 0.1
    stdp = Stdp(replace(CONFIG, stdp_learning_rate=rate, stdp_max_weight=2.5, stdp_bounds=bounds), model)
    for seed in range(5):
        numbers = act(stdp, view_of(model, text(seed)))
        assert all(weight.abs().max() <= 2.5 for weight in plastic_weights(model))
    assert (numbers["at_bounds"] > 0.5) == (bounds == "hard")


def test_a_weight_outside_the_bounds_is_not_pulled_back_but_may_return(
    build_model: Callable, text: Callable, view_of: Callable
):
    model = build_model()
    weight = next(iter(model.plastic_synapses().values()))
    with torch.no_grad():
        weight.copy_(torch.where(torch.rand_like(weight) < 0.5, -1.0, 1.0) * 0.3)
    stdp = Stdp(replace(CONFIG, stdp_learning_rate=1e-4, stdp_max_weight=0.2), model)
    before = weight.detach().clone()
    act(stdp, view_of(model, text(1)))
    assert (weight.abs() <= before.abs()).all()
    assert (weight.abs() > 0.29).all()
    assert (weight != before).any()


@pytest.mark.parametrize("target", [0.05, 0.35])
def test_homeostasis_brings_every_unit_of_a_lif_population_near_its_target_rate(
    target: float, build_model: Callable, text: Callable, view_of: Callable
):
    model = build_model(num_layers=1)
    config = replace(CONFIG, stdp_type="homeostatic", stdp_target_rate=target)
    stdp = Stdp(config, model)

    def rates() -> torch.Tensor:
        return view_of(model, text(0, batch_size=32)).activities[0][0].post_spikes_BTS.mean(dim=(0, 1))

    before = (rates() - target).abs()
    for seed in range(150):
        act(stdp, view_of(model, text(seed, batch_size=8)))
    after = (rates() - target).abs()
    assert before.max() > 0.5 * target
    assert after.mean() < 0.2 * target
    assert after.mean() < 0.25 * before.mean()


def test_without_homeostasis_the_same_rates_do_not_reach_the_target(
    build_model: Callable, text: Callable, view_of: Callable
):
    model = build_model(num_layers=1)
    stdp = Stdp(replace(CONFIG, stdp_type="classical", stdp_target_rate=0.05), model)
    for seed in range(150):
        act(stdp, view_of(model, text(seed, batch_size=8)))
    rates = view_of(model, text(0, batch_size=32)).activities[0][0].post_spikes_BTS.mean(dim=(0, 1))
    assert (rates - 0.05).abs().mean() > 0.05


def test_homeostatic_rule_is_the_pair_rule_and_scaling(build_model: Callable, text: Callable, view_of: Callable):
    model, plain = build_model(), build_model()
    weight = plastic_weights(model)[0]
    stdp = Stdp(CONFIG, model)
    change = change_of(model, stdp, view_of(model, text(1)))[0]
    pair = change_of(plain, Stdp(replace(CONFIG, stdp_type="classical"), plain), view_of(plain, text(1)))[0]
    rate = stdp.synapses[0].rate_NU[0]
    scaling = 0.01 * HOMEOSTATIC_GAIN * rules.synaptic_scaling(weight, rate, CONFIG.stdp_target_rate)
    torch.testing.assert_close(change, pair + scaling, rtol=1e-4, atol=1e-6)


def test_bcm_threshold_follows_the_squared_rate(build_model: Callable, text: Callable, view_of: Callable):
    model = build_model(num_layers=1)
    stdp = Stdp(replace(CONFIG, stdp_type="bcm", stdp_learning_rate=0.0), model)
    batch = text(1, batch_size=16)
    view = view_of(model, batch)
    for _ in range(200):
        act(stdp, view)
    y = rules.spike_trace(view.activities[0][0].post_spikes_BTS, math.exp(-1 / 9.0), batch.resets_BT) * (
        1 - math.exp(-1 / 9.0)
    )
    expected = y.square().mean(dim=(0, 1)) / CONFIG.stdp_target_rate
    torch.testing.assert_close(stdp.synapses[0].theta_NU[0], expected, rtol=1e-3, atol=1e-6)


META = replace(CONFIG, use_meta_plasticity=True, meta_lr=0.5, stdp_target_rate=0.05)


def test_consolidated_synapses_change_less(build_model: Callable, text: Callable, view_of: Callable):
    model = build_model(num_layers=1)
    stdp = Stdp(replace(META, stdp_type="classical"), model)
    view = view_of(model, text(1))
    weight = plastic_weights(model)[0]
    change = change_of(model, stdp, view)[0]
    m = stdp.synapses[0].consolidation_NUS[0]
    assert m.max() > 0
    assert (m == 0).any()
    plain = build_model(num_layers=1)
    free = change_of(plain, Stdp(replace(CONFIG, stdp_type="classical"), plain), view_of(plain, text(1)))[0]
    torch.testing.assert_close(change, free * torch.exp(-(m * weight).abs()), rtol=1e-4, atol=1e-6)


def test_consolidation_grows_towards_its_cap_and_never_beyond(build_model: Callable, text: Callable, view_of: Callable):
    model = build_model(num_layers=1)
    stdp = Stdp(replace(META, meta_lr=1.0, stdp_learning_rate=0.0), model)
    view = view_of(model, text(1))
    sizes = []
    for _ in range(100):
        act(stdp, view)
        sizes.append(stdp.synapses[0].consolidation_NUS.max().item())
    assert sizes == sorted(sizes)
    assert 0.9 * MAX_CONSOLIDATION < sizes[-1] <= MAX_CONSOLIDATION


def test_meta_plasticity_at_rate_zero_equals_off_bit_for_bit(build_model: Callable, text: Callable, view_of: Callable):
    weights = []
    for config in (CONFIG, replace(CONFIG, use_meta_plasticity=True, meta_lr=0.0)):
        model = build_model()
        stdp = Stdp(config, model)
        for seed in range(3):
            act(stdp, view_of(model, text(seed)))
        weights.append(plastic_weights(model))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_a_restart_goes_on_bit_for_bit(rule: str, build_model: Callable, text: Callable, view_of: Callable):
    config = replace(META, stdp_type=rule)
    straight = build_model()
    stdp = Stdp(config, straight)
    for seed in range(3):
        act(stdp, view_of(straight, text(seed)))
    saved, weights = encode_state(stdp.state_dict(), copy=True), straight.state_dict()
    resumed = build_model()
    resumed.load_state_dict(weights)
    again = Stdp(config, resumed)
    again.load_state_dict(decode_state(*saved))
    for seed in range(3, 6):
        act(stdp, view_of(straight, text(seed)))
        act(again, view_of(resumed, text(seed)))
    for one, other in zip(plastic_weights(straight), plastic_weights(resumed), strict=True):
        assert torch.equal(one, other)
    assert isinstance(stdp, AfterStep)


def test_the_state_of_another_model_is_refused(build_model: Callable):
    with pytest.raises(ValueError, match="saved for the synapses"):
        Stdp(CONFIG, build_model(num_layers=1)).load_state_dict(Stdp(CONFIG, build_model()).state_dict())


@pytest.mark.parametrize("backbone", ["cfc", "ltc"])
def test_a_population_that_does_not_spike_is_refused_with_the_way_out(backbone: str, build_model: Callable):
    with pytest.raises(UserError, match="--liquid-backbone lif"):
        Stdp(CONFIG, build_model(liquid_backbone=backbone))


def test_blocks_without_a_plastic_synapse_stand_between_those_that_have_one(
    build_model: Callable, text: Callable, view_of: Callable
):
    """The middle block is plain Mamba: synapses of the others change by their own spikes, found by name."""
    model = build_model(num_layers=3, block_pattern="hybrid,mamba,hybrid")
    stdp = Stdp(replace(CONFIG, stdp_type="classical"), model)
    batch = text(1)
    view = view_of(model, batch)
    changes = change_of(model, stdp, view)
    assert list(stdp.state_dict()) == ["blocks.0.plastic.weight", "blocks.2.plastic.weight"]
    for index, change in zip((0, 2), changes, strict=True):
        did = view.activities[0][index]
        trains = rules.SpikeTrains(
            [did.pre_spikes_BTS], [did.post_spikes_BTS], batch.resets_BT, tau_plus_ticks=6.0, tau_minus_ticks=9.0
        )
        pair = rules.pair(trains)
        expected = 0.01 * (pair.potentiation_NUS - pair.depression_NUS)[0] / batch.num_targets
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-7)


def with_blocks_of_two_sizes(build_model: Callable) -> LanguageModel:
    """Return a model of three hybrid blocks, the middle one with more neurons."""
    model, larger = build_model(num_layers=3), build_model(num_layers=3, spiking_units=20)
    model.blocks[1] = larger.blocks[1]
    return model


@pytest.mark.parametrize("rule", RULES)
def test_synapses_of_other_shapes_beside_it_change_nothing_about_a_synapse(
    rule: str, build_model: Callable, text: Callable, view_of: Callable
):
    model = with_blocks_of_two_sizes(build_model)
    config = replace(META, stdp_type=rule)
    stdp = Stdp(config, model)
    view = view_of(model, text(1))
    changes = change_of(model, stdp, view)
    assert [tuple(change.shape) for change in changes] == [(12, 12), (20, 20), (12, 12)]
    assert all(change.any() for change in changes)
    for name, change in zip(model.plastic_synapses(), changes, strict=True):
        # The same rule on a model of which only this block keeps its plastic synapse.
        alone = with_blocks_of_two_sizes(build_model)
        for index, block in enumerate(alone.blocks):
            if f"blocks.{index}.plastic.weight" != name:
                block.synapse, block.plastic = block.plastic, None
        (change_alone,) = change_of(alone, Stdp(config, alone), view._replace(model=alone))
        torch.testing.assert_close(change_alone, change, rtol=1e-5, atol=1e-8)


def test_a_restart_finds_synapses_of_two_shapes_by_name(build_model: Callable, text: Callable, view_of: Callable):
    straight, resumed = with_blocks_of_two_sizes(build_model), with_blocks_of_two_sizes(build_model)
    stdp, again = Stdp(META, straight), Stdp(META, resumed)
    act(stdp, view_of(straight, text(0)))
    resumed.load_state_dict(straight.state_dict())
    again.load_state_dict(decode_state(*encode_state(stdp.state_dict(), copy=True)))
    numbers = [act(s, view_of(m, text(1))) for s, m in ((stdp, straight), (again, resumed))]
    assert numbers[0] == numbers[1]
    for one, other in zip(plastic_weights(straight), plastic_weights(resumed), strict=True):
        assert torch.equal(one, other)


def test_a_model_without_a_plastic_synapse_is_refused_with_the_way_out(build_model: Callable):
    with pytest.raises(UserError, match="no block has a plastic synapse"):
        Stdp(CONFIG, build_model(block_pattern="mamba"))


def firing(build_model: Callable, weights: list[float], pre: list[int], post: list[int]) -> LanguageModel:
    """Return a model of one synapse with these weights onto each unit, whose populations fire as they are told."""
    model = build_model(num_layers=1, spiking_units=len(weights))
    (synapse,) = model.plastic_synapses().values()
    synapse.data = torch.tensor([weights] * len(weights))
    pre_BTS, post_BTS = (torch.tensor(train).float()[None, :, None].repeat(1, 1, len(weights)) for train in (pre, post))
    activity = (BlockActivity(pre_BTS, post_BTS, pre_BTS.mean(), post_BTS.mean(), None),)
    model.forward = lambda inputs_BT, resets_BT: ModelOutput(None, (), activity)
    return model


TWO_TOKENS = MicroBatch(torch.zeros(1, 2).long(), torch.zeros(1, 2).long(), torch.zeros(1, 2).bool())


def test_soft_bounds_weigh_potentiation_by_the_room_above_and_depression_by_the_room_below(
    build_model: Callable, view_of: Callable
):
    config = replace(CONFIG, stdp_type="classical", stdp_bounds="soft", stdp_max_weight=20.0)
    weights = [-10.0, 0.0, 10.0]
    # One pair, a tick apart: pre before post potentiates by exp(-1/6), post before pre depresses by 0.7 exp(-1/9),
    # where 0.7 = 1.05 * 6 / 9. The rate is 0.01, and the text has 2 tokens.
    for spikes, size, shares in (
        (([1, 0], [0, 1]), 0.01 * 0.846482 / 2, [1.5, 1.0, 0.5]),
        (([0, 1], [1, 0]), -0.01 * 0.7 * 0.894839 / 2, [0.5, 1.0, 1.5]),
    ):
        model = firing(build_model, weights, *spikes)
        (change,) = change_of(model, Stdp(config, model), view_of(model, TWO_TOKENS))
        assert change[0].tolist() == pytest.approx([size * share for share in shares], rel=1e-3)


def test_a_silent_unit_gains_a_hundredth_of_its_weights_at_the_first_step(build_model: Callable, view_of: Callable):
    # Its running rate falls by a tenth of the target, the scaling is (1 - 0.9) |w|, ten times the learning rate 0.01.
    config = replace(CONFIG, stdp_type="homeostatic", stdp_target_rate=0.1)
    model = firing(build_model, [2.0, -2.0], [0, 0], [0, 0])
    stdp = Stdp(config, model)
    (change,) = change_of(model, stdp, view_of(model, TWO_TOKENS))
    assert change[0].tolist() == pytest.approx([0.02, 0.02], rel=1e-4)
    assert stdp.synapses[0].rate_NU.tolist() == [pytest.approx([0.09, 0.09])]
    change_of(model, stdp, view_of(model, TWO_TOKENS))
    assert stdp.synapses[0].rate_NU.tolist() == [pytest.approx([0.081, 0.081])]


def test_a_target_of_more_than_half_the_ticks_leaves_consolidation_within_reach(
    build_model: Callable, view_of: Callable
):
    config = replace(META, stdp_type="classical", stdp_tau_plus=1.0, stdp_tau_minus=1.0, stdp_target_rate=0.6)
    model = firing(build_model, [1.0], [1, 1], [1, 1])
    stdp = Stdp(config, model)
    change_of(model, stdp, view_of(model, TWO_TOKENS))
    # After two spikes in a row the trace is 1 + exp(-1), of at most 1 / (1 - exp(-1)): a rate of 0.86, above 0.8.
    assert stdp.synapses[0].consolidation_NUS.item() > 0


@pytest.mark.parametrize(("times_target", "expected"), [(1.9, 0.0), (2.1, 2.5)])
def test_a_synapse_is_consolidated_by_ticks_at_which_both_rates_are_above_twice_the_target(
    times_target: float, expected: float, build_model: Callable, view_of: Callable
):
    # A spike makes a rate of 1 - exp(-1/6); at one of two ticks it is high, so m = 0.5 * 1/2 * 10.
    config = replace(
        META,
        stdp_type="classical",
        stdp_tau_plus=6.0,
        stdp_tau_minus=6.0,
        stdp_target_rate=(1 - math.exp(-1 / 6)) / times_target,
    )
    model = firing(build_model, [1.0], [1, 0], [1, 0])
    stdp = Stdp(config, model)
    change_of(model, stdp, view_of(model, TWO_TOKENS))
    assert stdp.synapses[0].consolidation_NUS.item() == pytest.approx(expected)
