"""What extensions may do to weights: each of them through the engine, one extension for each weight, and finite."""

import pytest
import torch
from torch import nn

from mambrane.engine.extensions import ExtensionRefusedError, Extensions, StepChange
from mambrane.engine.refusals import TornStateError
from mambrane.engine.weights import NonFiniteWeightsError, copies_of
from tests.engine.recorder import Recorder
from tests.engine.tiny_training import (
    Drift,
    ListLoader,
    make_batches,
    make_trainer,
)


def test_two_extensions_that_change_the_same_weight_after_a_step_are_refused():
    class Second(Drift):
        def __init__(self):
            super().__init__()
            self.name = "second"

    trainer = make_trainer(extensions=Extensions(after_steps=(Drift(), Second())))
    with pytest.raises(ExtensionRefusedError, match=r"second changes hidden.weight after the step"):
        list(trainer.steps(ListLoader(make_batches(4))))


def returning(weights):
    class Returning(Recorder):
        def after_step(self, view):
            return StepChange({}, weights(view.model))

    return Returning()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda model: {"hiden.weight": model.hidden.weight}, "returns weights the step does not have: hiden.weight"),
        (lambda model: {"hidden.weight": torch.zeros(8)}, r"returns hidden.weight of shape \(8,\)"),
        (lambda model: {"hidden.weight": torch.zeros(())}, r"returns hidden.weight of shape \(\)"),
        (lambda model: {"hidden.weight": model.hidden.weight.add_(1.0)}, "writes to hidden.weight by itself"),
    ],
)
def test_changes_after_a_step_that_do_not_fit_or_pass_the_engine_by_are_refused(weights, message):
    trainer = make_trainer(extensions=Extensions(after_steps=(returning(weights),)))
    with pytest.raises(ExtensionRefusedError, match=message):
        list(trainer.steps(ListLoader(make_batches(4))))
    with pytest.raises(TornStateError):
        trainer.state_dict()


def test_a_frozen_weight_that_an_extension_left_not_finite_is_an_error_too():
    trainer = make_trainer(extensions=Extensions(after_steps=(Poison("after_step", float("nan")),)))
    trainer.model.hidden.weight.requires_grad_(False)
    with pytest.raises(NonFiniteWeightsError, match=r"the weight of hidden\.weight is not finite"):
        list(trainer.steps(ListLoader(make_batches(4))))


class Poison(Recorder):
    """Makes one weight infinite or not a number, in one seam."""

    def __init__(self, seam, value):
        super().__init__()
        self.seam, self.value = seam, value

    def gate(self, before, after):
        return {name: weight * self.value if self.seam == "gate" else weight for name, weight in after.items()}

    def after_step(self, view):
        bad = torch.full_like(view.model.hidden.weight, self.value)
        return StepChange({}, {"hidden.weight": bad} if self.seam == "after_step" else {})


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("seam", ["gate", "after_step"])
def test_weights_that_an_extension_left_not_finite_are_an_error_that_names_one_and_nothing_is_saved(seam, value):
    poison = Poison(seam, value)
    trainer = make_trainer(extensions=Extensions(update_gates=(poison,), after_steps=(poison,)), ema_decay=0.9)
    average = {name: tensor.clone() for name, tensor in trainer.ema.average.items()}
    with pytest.raises(NonFiniteWeightsError, match=r"the weight of [a-z.]+ is not finite"):
        list(trainer.steps(ListLoader(make_batches(4))))
    with pytest.raises(TornStateError):
        trainer.state_dict()
    assert all(torch.equal(trainer.ema.average[name], tensor) for name, tensor in average.items())


def test_weights_that_the_optimizer_left_not_finite_are_an_error_that_names_one():
    trainer = make_trainer()
    trainer.optimizers[0].param_groups[0]["weight_decay"] = float("inf")
    with pytest.raises(NonFiniteWeightsError, match="is not finite"):
        list(trainer.steps(ListLoader(make_batches(4))))


def test_copies_have_the_same_bits_and_follow_no_later_change():
    weights = {"a": nn.Parameter(torch.tensor([-0.0, torch.nan, 1.5])), "b": nn.Parameter(torch.ones(2, 3))}
    copies = copies_of(weights)
    with torch.no_grad():
        weights["b"].add_(1)
    assert copies["a"].view(torch.int32).tolist() == weights["a"].detach().view(torch.int32).tolist()
    assert (copies["b"] == 1).all()
    assert not copies["a"].requires_grad
    assert copies_of({}) == {}
