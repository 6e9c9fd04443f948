"""Controls take away what they say and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.engine.extensions import BoundaryView
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.controls import permuted, random_of_same_size, shuffled_in_time
from mambrane.plasticity.meta_plasticity import MetaPlasticity
from mambrane.plasticity.stdp import Stdp
from mambrane.storage.state_files import decode_state, encode_state
from tests.plasticity.test_meta_plasticity import CONFIG as META
from tests.plasticity.test_meta_plasticity import gated, one_weight
from tests.plasticity.test_stdp import CONFIG as STDP
from tests.plasticity.test_stdp import change_of

STDP_CONTROLS = ("shuffled", "flipped", "random")
META_CONTROLS = ("uniform", "permuted", "decay")


def stdp_change(build_model: Callable, text: Callable, view_of: Callable, **settings: object) -> torch.Tensor:
    model = build_model()
    stdp = Stdp(replace(STDP, stdp_type="classical", **settings), model)
    return change_of(model, stdp, view_of(model, text(1), text(2, padding=10)))[0]


def test_shuffling_keeps_each_units_spikes_and_what_does_not_count():
    spikes = (torch.rand(3, 20, 4, generator=make_generator(0, "spikes")) < 0.3).float()
    counted = torch.ones(3, 20, dtype=torch.bool)
    counted[2, 15:] = False
    shuffled = shuffled_in_time(spikes, counted, make_generator(0, "shuffle"))
    assert torch.equal(shuffled.sum(1), spikes.sum(1))
    assert torch.equal(shuffled[2, 15:], spikes[2, 15:])
    assert not torch.equal(shuffled, spikes)
    assert not torch.equal(shuffled_in_time(spikes, None, make_generator(0, "shuffle"))[2], shuffled[2])


def test_a_random_change_is_as_long_as_the_rules_for_each_synapse_matrix():
    change = torch.stack([torch.eye(4), 3.0 * torch.ones(4, 4)])
    drawn = random_of_same_size(change, make_generator(0, "random"))
    torch.testing.assert_close(drawn.norm(dim=(1, 2)), change.norm(dim=(1, 2)))
    assert not torch.equal(drawn, change)


def test_flipping_turns_every_change_of_the_pair_rule_around(build_model, text, view_of):
    change = stdp_change(build_model, text, view_of)
    torch.testing.assert_close(stdp_change(build_model, text, view_of, stdp_control="flipped"), -change)


@pytest.mark.parametrize("control", STDP_CONTROLS)
def test_a_control_of_stdp_differs_from_the_rule(control, build_model, text, view_of):
    change = stdp_change(build_model, text, view_of)
    assert not torch.allclose(stdp_change(build_model, text, view_of, stdp_control=control), change)


@pytest.mark.parametrize("control", STDP_CONTROLS)
def test_a_control_of_stdp_without_learning_rate_leaves_every_bit(control, build_model, text, view_of):
    assert not stdp_change(build_model, text, view_of, stdp_control=control, stdp_learning_rate=0.0).any()


@pytest.mark.parametrize("control", STDP_CONTROLS)
def test_a_control_of_stdp_draws_the_same_after_a_restart_and_another_in_the_next_step(
    control, build_model, text, view_of
):
    model = build_model()
    config = replace(STDP, stdp_type="classical", stdp_control=control)
    stdp, view = Stdp(config, model, seed=3), view_of(model, text(1))
    first = stdp.after_step(view).weights
    resumed = Stdp(config, model, seed=3)
    resumed.load_state_dict(decode_state(*encode_state(stdp.state_dict(), copy=True)))
    again = resumed.after_step(view).weights
    assert all(torch.equal(again[name], weight) for name, weight in first.items())
    if control != "flipped":
        later = resumed.after_step(view._replace(applied_step=view.applied_step + 1)).weights
        assert not all(torch.equal(later[name], weight) for name, weight in first.items())


def test_uniform_holds_every_weight_back_as_much_as_the_gate_does_on_average():
    _, meta = one_weight()
    _, uniform = one_weight(replace(META, meta_control="uniform"))
    assert uniform.mean_plasticity == meta.mean_plasticity
    f = meta.mean_plasticity
    assert gated(uniform, [1.2, 1.2], [1.3, 1.3]) == pytest.approx([1.2 + 0.1 * f] * 2)
    assert gated(uniform, [1.2, 0.8], [1.1, 0.9]) == pytest.approx([1.1, 0.9])


def test_permuted_importance_is_the_same_numbers_at_other_weights_and_always_there():
    importance = torch.arange(24.0).view(4, 6)
    moved = permuted(importance, seed=0, name="w")
    assert sorted(moved.flatten().tolist()) == importance.flatten().tolist()
    assert not torch.equal(moved, importance)
    assert torch.equal(moved, permuted(importance, seed=0, name="w"))
    assert not torch.equal(moved, permuted(importance, seed=0, name="v"))


def test_decay_holds_back_more_with_each_task_and_no_weight_more_than_another():
    model, meta = one_weight(replace(META, meta_control="decay"))
    assert gated(meta, [1.0, 1.0], [1.1, 1.1]) == pytest.approx([1.0 + 0.1 / 4.0] * 2)
    meta.observe({"weight": torch.tensor([[1.0, 0.1]])})
    meta.boundary(BoundaryView(model=model, loader=None, task_index=1, device=torch.device("cpu")))
    assert gated(meta, [1.0, 1.0], [1.1, 1.1]) == pytest.approx([1.0 + 0.1 / 7.0] * 2)


@pytest.mark.parametrize("control", META_CONTROLS)
def test_a_control_of_meta_plasticity_differs_is_off_at_zero_and_survives_a_restart(control, build_model):
    def gate_of(config: PlasticityConfig, state: object = None) -> tuple[MetaPlasticity, list[torch.Tensor]]:
        model = build_model()
        names = [name for name, _ in model.named_parameters()]
        meta = MetaPlasticity(config, model, seed=1)
        if state is None:
            meta.observe({n: torch.rand(p.shape, generator=make_generator(0, n)) for n, p in model.named_parameters()})
            meta.boundary(BoundaryView(model=model, loader=None, task_index=0, device=torch.device("cpu")))
        else:
            meta.load_state_dict(state)
        before = {name: model.get_parameter(name).detach().clone() for name in names}
        after = {name: weight + 0.1 for name, weight in before.items()}
        return meta, list(meta.gate(before, after).values())

    controlled = replace(META, meta_control=control)
    meta, weights = gate_of(controlled)
    _, plain = gate_of(META)
    assert not all(torch.equal(one, other) for one, other in zip(weights, plain, strict=True))
    state = decode_state(*encode_state(meta.state_dict(), copy=True))
    _, resumed = gate_of(controlled, state)
    assert all(torch.equal(one, other) for one, other in zip(weights, resumed, strict=True))
    _, off = gate_of(replace(controlled, meta_kappa=0.0))
    model = build_model()
    assert all(torch.equal(w, p.detach() + 0.1) for w, p in zip(off, model.parameters(), strict=True))
