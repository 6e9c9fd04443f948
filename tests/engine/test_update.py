"""An update that runs before the host knows whether it counts, as on a GPU: the bits of one that is asked first."""

import copy
import math

import pytest
import torch

from mambrane.engine.extensions import Extensions, StepChange
from mambrane.engine.objective import Objective
from mambrane.engine.transaction import StepState
from mambrane.engine.update import can_be_taken_back
from tests.engine.tiny_training import (
    INFINITE,
    NOT_A_NUMBER,
    EventList,
    ListLoader,
    TinyModel,
    make_batch,
    make_batches,
    make_trainer,
    poisoned_objective,
    training_differences,
)


class Everything:
    """A penalty, a gate and an after-step extension in one, each with a memory of its own."""

    name = "everything"

    def __init__(self):
        self.seen, self.steps, self.usage = torch.zeros((), dtype=torch.float64), 0, torch.zeros(())

    def penalty(self, model):
        return 0.1 * model.hidden.weight.square().sum()

    def observe(self, gradients):
        self.usage = self.usage + torch.stack([each.abs().sum() for each in gradients.values()]).sum()

    def gate(self, before, after):
        return {name: before[name] + 0.5 * (after[name] - before[name]) for name in after}

    def after_step(self, view):
        self.steps += 1
        self.seen = self.seen + sum(activity[0].sum() for activity in view.activities)
        weight = view.model.scores.bias
        return StepChange({"seen": self.seen.mean()}, {"scores.bias": weight.detach() + 0.01 * self.seen.tanh()})

    def revocation_point(self):
        held = dict(vars(self))
        return lambda: vars(self).update(held)

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)


class Irrevocable(Everything):
    revocation_point = None


def run(batches, *, decides_on_device, extensions=None, **options):
    """Train an epoch of steps of two micro-batches; returns results, and the state after each."""
    model = options.pop("model", None) or TinyModel()
    torch.manual_seed(0)
    trainer = make_trainer(model, extensions=extensions, accumulation_steps=2, max_consecutive_skips=9, **options)
    trainer.training_step.decides_on_device = decides_on_device
    found = [(result, copy.deepcopy(trainer.state_dict())) for result in trainer.steps(ListLoader(batches))]
    return [result for result, _ in found], [state for _, state in found]


def mixed_up():
    """Steps: bad, good, good, bad, good."""
    infinite = [make_batch(50, first_token=INFINITE), make_batch(51)]
    not_a_number = [make_batch(52), make_batch(53, first_token=NOT_A_NUMBER)]
    return [*infinite, *make_batches(4), *not_a_number, *make_batches(2, seed=3)]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("gradient_clip", [0.0, 0.05])
@pytest.mark.parametrize("with_extension", [False, True])
def test_it_leaves_the_bits_of_an_update_that_is_asked_first(precision, gradient_clip, with_extension):
    def both(decides_on_device):
        extensions = None
        if with_extension:
            each = Everything()
            extensions = Extensions(penalties=(each,), update_gates=(each,), after_steps=(each,))
        options = {"precision": precision, "gradient_clip": gradient_clip}
        return run(mixed_up(), decides_on_device=decides_on_device, extensions=extensions, **options)

    (asked, asked_states), (found, found_states) = both(False), both(True)
    assert [result.state.name for result in found] == ["SKIPPED", "COMMITTED", "COMMITTED", "SKIPPED", "COMMITTED"]
    assert repr(found) == repr(asked)
    for expected, state in zip(asked_states, found_states, strict=True):
        assert training_differences(expected, state) == []


@pytest.mark.parametrize("name", ["embedding.weight", "hidden.weight", "scores.bias"])
def test_of_all_gradients_the_one_that_is_not_a_number_is_named(name):
    model = TinyModel()
    spoil = torch.zeros_like(model.get_parameter(name))
    spoil.view(-1)[-1] = math.nan
    model.get_parameter(name).register_hook(lambda gradient: gradient + spoil)
    results, _ = run(make_batches(2), decides_on_device=True, model=model, gradient_clip=0.5)
    assert [result.reason for result in results] == [f"the gradient of {name} is not finite"]


def test_a_norm_that_overflows_names_the_largest_gradient():
    def huge(model, batch):
        loss_sum, output = poisoned_objective(model, batch)
        return Objective(loss_sum * 1e30, output)

    reasons = []
    for decides_on_device in (False, True):
        model = TinyModel(dtype=torch.float32)
        options = {"model": model, "objective": huge, "gradient_clip": 0.5}
        (result,), _ = run(make_batches(2), decides_on_device=decides_on_device, **options)
        assert result.state is StepState.SKIPPED
        reasons.append(result.reason)
    assert reasons[0] == reasons[1]
    assert "overflowed" in reasons[0]


def test_a_weight_that_an_extension_leaves_not_finite_is_refused_all_the_same():
    class Spoils(Everything):
        def after_step(self, view):
            return StepChange({}, {"scores.bias": view.model.scores.bias.detach() * math.nan})

    with pytest.raises(ArithmeticError, match=r"the weight of scores\.bias is not finite"):
        run(make_batches(2), decides_on_device=True, extensions=Extensions(after_steps=(Spoils(),)))


def test_only_what_can_be_taken_back_runs_before_it_is_known_to_count():
    fused = [make_trainer(events=EventList()).optimizers[0]]
    weights = [torch.nn.Parameter(torch.zeros(2))]
    assert can_be_taken_back(fused, Extensions())
    assert can_be_taken_back(fused, Extensions(after_steps=(Everything(),)))
    assert not can_be_taken_back(fused, Extensions(after_steps=(Irrevocable(),)))
    assert not can_be_taken_back([torch.optim.SGD(weights, lr=0.1)], Extensions())
    assert not make_trainer().training_step.decides_on_device
