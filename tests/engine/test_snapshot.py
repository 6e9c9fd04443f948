"""A snapshot puts back everything but weights and gradients; an evaluation leaves no trace."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from mambrane.engine.ema import ExponentialMovingAverage
from mambrane.engine.snapshot import (
    Snapshot,
    evaluation_mode,
    evaluation_without_trace,
    global_random_state,
    set_global_random_state,
)
from tests.engine.tiny_training import TinyModel, differences, make_batch, poisoned_objective


def draw_from_everything():
    return random.random(), float(np.random.rand()), float(np.random.randn()), torch.rand(2).tolist()


def test_the_global_random_state_goes_to_a_tree_and_back():
    np.random.randn()
    state = global_random_state()
    first = draw_from_everything()
    assert draw_from_everything() != first
    set_global_random_state(state)
    assert draw_from_everything() == first
    assert state["numpy"]["has_gauss"] == 1


def test_a_snapshot_puts_back_random_numbers_and_buffers():
    model = nn.BatchNorm1d(3)
    snapshot = Snapshot(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    first = draw_from_everything()
    model(torch.randn(4, 3))
    assert differences(before, dict(model.named_buffers())) != []
    snapshot.restore()
    assert differences(before, dict(model.named_buffers())) == []
    assert draw_from_everything() == first


def test_restoring_the_buffers_lets_the_random_numbers_go_on():
    model = nn.BatchNorm1d(3)
    snapshot = Snapshot(model)
    first = draw_from_everything()
    model(torch.ones(4, 3))
    snapshot.restore_buffers()
    assert int(model.num_batches_tracked) == 0
    assert draw_from_everything() != first


def test_an_evaluation_in_the_middle_of_a_step_leaves_no_trace():
    model = nn.Sequential(TinyModel(dropout=0.5), nn.BatchNorm1d(3))
    model[1].eval()
    average = ExponentialMovingAverage(model, 0.9)
    average.update(model)
    with torch.no_grad():
        model[0].hidden.weight += 1
    poisoned_objective(model[0], make_batch(0)).loss_sum.backward()
    gradient = model[0].hidden.weight.grad
    before = {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradient": gradient.clone(),
        "torch": torch.get_rng_state(),
        "average": {name: value.clone() for name, value in average.average.items()},
    }
    with evaluation_without_trace(model, average):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        assert torch.equal(model[0].hidden.weight, average.average["0.hidden.weight"])
        model[1].running_mean += 3
        torch.rand(5)
    assert model[0].hidden.weight.grad is gradient
    assert [module.training for module in (model, model[0], model[0].dropout, model[1])] == [True, True, True, False]
    after = {
        "weights": dict(model.state_dict()),
        "gradient": gradient,
        "torch": torch.get_rng_state(),
        "average": average.average,
    }
    assert differences(before, after) == []
    assert torch.is_grad_enabled()


def test_an_exception_in_an_evaluation_puts_everything_back():
    model = TinyModel()
    average = ExponentialMovingAverage(model, 0.9)
    with torch.no_grad():
        model.hidden.weight += 1
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError), evaluation_without_trace(model, average):
        raise ZeroDivisionError
    assert differences(before, dict(model.state_dict())) == []
    assert model.training
    average.state_dict()


def test_evaluation_mode_gives_each_module_its_own_mode_back_after_an_error_too():
    model = torch.nn.Sequential(TinyModel(dropout=0.5), torch.nn.Linear(2, 2).eval())

    def fail_inside():
        with evaluation_mode(model):
            raise KeyError([module.training for module in model.modules()])

    before = [module.training for module in model.modules()]
    with pytest.raises(KeyError) as error:
        fail_inside()
    assert not any(error.value.args[0])
    assert [module.training for module in model.modules()] == before
    assert before.count(False) == 1
