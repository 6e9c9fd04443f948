"""Claims about the retraction of weights: how far, when, and that it may be left and taken up anywhere."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mambrane.continual.config import ContinualConfig
from mambrane.continual.reptile import Reptile
from mambrane.engine.extensions import Extensions, StepView, TakeUpView
from mambrane.settings.methods import methods_of
from mambrane.settings.named_settings import config_of
from mambrane.storage.state_files import decode_state, encode_state

CONFIG = ContinualConfig(reptile_strength=0.75, reptile_interval=3)


def linear() -> nn.Linear:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.fill_(1.0)
    return model


def step(model: nn.Linear, reptile: Reptile, way: float) -> None:
    """Move the weights by `way`, then let Reptile act as the engine does."""
    model.weight.data.add_(way)
    change = reptile.after_step(StepView(model, [], [], [], num_targets=1, applied_step=1, learning_rate=1.0))
    for name, weight in change.weights.items():
        model.get_parameter(name).data.copy_(weight)


def run(model: nn.Linear, reptile: Reptile, ways: list[float]) -> list[float]:
    places = []
    for way in ways:
        step(model, reptile, way)
        places.append(model.weight[0, 0].item())
    return places


def test_every_few_steps_the_weights_go_back_that_part_of_their_way():
    model = linear()
    # Each third step: 1 + 0.25 * 3 = 1.75, then 1.75 + 0.25 * 3 = 2.5.
    assert run(model, Reptile(CONFIG, model), [1.0] * 6) == pytest.approx([2.0, 3.0, 1.75, 2.75, 3.75, 2.5])


def test_full_strength_takes_every_way_back_and_more_than_none_differs_from_off():
    model = linear()
    assert run(model, Reptile(replace(CONFIG, reptile_strength=1.0), model), [1.0] * 3)[-1] == 1.0


def test_strength_zero_leaves_every_bit():
    model, plain = linear(), linear()
    run(model, Reptile(replace(CONFIG, reptile_strength=0.0), model), [0.1, 0.2, 0.3, 0.7])
    for way in (0.1, 0.2, 0.3, 0.7):
        plain.weight.data.add_(way)
    assert torch.equal(model.weight, plain.weight)


def test_a_run_that_was_left_in_between_goes_on_as_if_it_had_not():
    whole, parted = linear(), linear()
    expected = run(whole, Reptile(CONFIG, whole), [0.3, 0.1, 0.7, 0.2, 0.9])
    first = Reptile(CONFIG, parted)
    places = run(parted, first, [0.3, 0.1])
    second = Reptile(CONFIG, parted)
    second.load_state_dict(decode_state(*encode_state(first.state_dict(), copy=True)))
    assert places + run(parted, second, [0.7, 0.2, 0.9]) == expected


def test_the_state_of_another_model_is_refused():
    reptile = Reptile(CONFIG, linear())
    with pytest.raises(ValueError, match="another model"):
        reptile.load_state_dict(Reptile(CONFIG, nn.Linear(3, 1)).state_dict())


@pytest.mark.parametrize("was_there_before", [False, True])
def test_what_was_learned_without_it_is_not_taken_back(was_there_before):
    model = linear()
    reptile = Reptile(CONFIG, model)
    run(model, reptile, [0.5] * 4)
    parked = {"reptile": reptile.state_dict()} if was_there_before else {}
    later = Reptile(CONFIG, model)
    model.weight.data.fill_(9.0)
    Extensions.of(later).take_up({}, parked, TakeUpView(model, 2, end_of_text=0, device=torch.device("cpu")))
    assert run(model, later, [1.0] * 3) == pytest.approx([10.0, 11.0, 9.75])


def test_weights_that_are_put_back_are_where_the_next_way_begins():
    model = linear()
    reptile = Reptile(CONFIG, model)
    run(model, reptile, [1.0] * 5)
    reptile.before_put_back({"weight": torch.full((1, 2), 2.0)})
    model.weight.data.fill_(2.0)
    assert run(model, reptile, [1.0] * 3) == pytest.approx([3.0, 4.0, 2.75])


@pytest.mark.parametrize("turned_on", [False, True])
def test_stdp_may_be_turned_on_or_off_beside_it(build_model, turned_on):
    model = build_model()
    synapses = model.plastic_synapses()
    before, after = (
        Reptile(CONFIG, model, set(synapses) if with_stdp else set()) for with_stdp in (not turned_on, turned_on)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    after.load_state_dict(decode_state(*encode_state(before.state_dict(), copy=True)))
    assert after.before.keys() == set(after.names)
    for name, weight in after.before.items():
        assert torch.equal(weight, model.get_parameter(name) if name in synapses else before.before[name])


def test_a_setting_turns_it_on_and_synapses_of_stdp_are_left_to_it(build_model):
    assert Reptile in methods_of(config_of({"preset": "tiny", "reptile-strength": 0.5}, source="here"))
    assert Reptile not in methods_of(config_of({"preset": "tiny"}, source="here"))
    model = build_model()
    config = config_of({"preset": "tiny", "reptile-strength": 0.5, "use-stdp": True}, source="here")
    names = Reptile.build(config, model).names
    assert set(names) == {name for name, _ in model.named_parameters()} - set(model.plastic_synapses())
    without = config_of({"preset": "tiny", "reptile-strength": 0.5, "use-stdp": False}, source="here")
    assert set(Reptile.build(without, model).names) == {name for name, _ in model.named_parameters()}
