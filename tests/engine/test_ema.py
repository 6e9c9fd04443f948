"""The averaged weights: the formula, the swap, and what never moves them."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mambrane.engine.ema import ExponentialMovingAverage
from mambrane.engine.refusals import TornStateError
from tests.engine.tiny_training import (
    INFINITE,
    ListLoader,
    TinyModel,
    differences,
    make_batch,
    make_batches,
    make_trainer,
    training_differences,
)


def shake(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator))


def warm_decay(n, decay):
    return min(decay, (1 + n) / (10 + n))


@pytest.mark.parametrize("decay", [0.5, 0.95, 0.9999])
def test_it_agrees_with_the_averaged_model_of_torch(decay):
    model = TinyModel(dtype=torch.float32)
    average = ExponentialMovingAverage(model, decay)

    def rule(averaged, current, num_averaged):
        d = warm_decay(int(num_averaged) - 1, decay)
        return d * averaged + (1 - d) * current

    reference = AveragedModel(model, avg_fn=rule)
    # The reference copies at its first update; ours starts from the weights at birth, which it already holds.
    reference.n_averaged.fill_(1)
    for step in range(30):
        shake(model, step)
        average.update(model)
        reference.update_parameters(model)
        for name, weight in reference.module.named_parameters():
            torch.testing.assert_close(average.average[name], weight.detach(), rtol=1e-6, atol=1e-6)


def test_before_the_first_update_the_average_is_the_weights():
    trainer = make_trainer()
    raw = dict(trainer.model.state_dict())
    with trainer.evaluation():
        assert differences(raw, dict(trainer.model.state_dict())) == []


def test_the_warm_up_goes_on_after_a_resume():
    model = TinyModel()
    straight = ExponentialMovingAverage(model, 0.99)
    stopped = ExponentialMovingAverage(model, 0.99)
    for step in range(12):
        shake(model, step)
        straight.update(model)
        fresh = ExponentialMovingAverage(model, 0.99)
        fresh.load_state_dict(stopped.state_dict())
        stopped = fresh
        stopped.update(model)
        assert differences(straight.state_dict(), stopped.state_dict()) == []


def test_a_shadow_of_bf16_weights_is_fp32_and_moves_with_a_slow_decay():
    model = nn.Linear(4, 4).to(torch.bfloat16)
    average = ExponentialMovingAverage(model, 0.9999)
    average.num_updates = 10**6
    before = {name: tensor.clone() for name, tensor in average.average.items()}
    with torch.no_grad():
        model.weight.add_(0.01)
    average.update(model)
    assert average.average["weight"].dtype == torch.float32
    moved = average.average["weight"] - before["weight"]
    torch.testing.assert_close(moved, 1e-4 * (model.weight.float() - before["weight"]), rtol=0.05, atol=1e-8)
    assert bool((moved != 0).all())


def test_a_model_that_has_grown_is_averaged_in_full():
    model = nn.ModuleDict({"old": nn.Linear(2, 2)})
    average = ExponentialMovingAverage(model, 0.9)
    average.update(model)
    model["head"] = nn.Linear(2, 3)
    head = model["head"].weight.detach().clone()
    average.update(model)
    assert average.average.keys() == dict(model.named_parameters()).keys()
    assert torch.equal(average.average["head.weight"], head)
    with torch.no_grad():
        model["head"].weight.add_(1.0)
    average.update(model)
    d = warm_decay(2, 0.9)
    torch.testing.assert_close(average.average["head.weight"], d * head + (1 - d) * (head + 1))


def test_frozen_and_integer_parameters_do_no_harm():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    model.register_parameter("count", nn.Parameter(torch.tensor(3), requires_grad=False))
    average = ExponentialMovingAverage(model, 0.9)
    average.update(model)
    assert set(average.average) == {"weight", "bias"}
    with average.swapped_in(model):
        assert int(model.count) == 3


def test_the_swap_shows_the_average_and_brings_the_weights_back_bit_for_bit():
    model = TinyModel(dtype=torch.float32)
    average = ExponentialMovingAverage(model, 0.9)
    shake(model, 0)
    average.update(model)
    raw = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with average.swapped_in(model):
        for name, weight in model.named_parameters():
            assert torch.equal(weight, average.average[name])
    assert differences(raw, {name: weight.detach() for name, weight in model.named_parameters()}) == []


def test_an_exception_while_swapped_brings_the_weights_back():
    trainer = make_trainer()
    list(trainer.steps(ListLoader(make_batches(8))))
    before = trainer.state_dict()
    with pytest.raises(ZeroDivisionError), trainer.evaluation():
        raise ZeroDivisionError
    assert training_differences(before, trainer.state_dict()) == []
    assert trainer.model.training


def test_the_average_is_never_saved_updated_or_swapped_again_while_it_is_in_the_model():
    model = TinyModel()
    average = ExponentialMovingAverage(model, 0.9)
    with average.swapped_in(model):
        for forbidden in (average.state_dict, lambda: average.update(model)):
            with pytest.raises(AssertionError, match=r"in the model|holds the average"):
                forbidden()
        with pytest.raises(AssertionError, match="already"), average.swapped_in(model):
            pass
    average.state_dict()


def test_skipped_and_empty_steps_do_not_tick():
    trainer = make_trainer(accumulation_steps=1)
    batches = [make_batch(0), make_batch(1, first_token=INFINITE), make_batch(2, num_targets=0), make_batch(3)]
    ticks = []
    for _ in trainer.steps(ListLoader(batches)):
        ticks.append(trainer.ema.num_updates)
    assert ticks == [1, 1, 1, 2]


def test_a_saved_average_of_another_model_is_refused():
    saved = ExponentialMovingAverage(nn.Linear(2, 2), 0.9).state_dict()
    with pytest.raises(ValueError, match=r"average of weight: shape \(2, 2\), the model has \(2, 3\)"):
        ExponentialMovingAverage(nn.Linear(3, 2), 0.9).load_state_dict(saved)
    with pytest.raises(ValueError, match="the model has None"):
        ExponentialMovingAverage(nn.Bilinear(2, 2, 2), 0.9).load_state_dict(
            {"num_updates": 0, "average": {"other": torch.ones(1)}}
        )


def test_a_trainer_whose_step_is_open_is_not_saved():
    trainer = make_trainer()
    errors = []

    def objective(model, batch):
        with pytest.raises(TornStateError, match="saving"):
            trainer.state_dict()
        errors.append(1)
        raise KeyboardInterrupt

    trainer.training_step._accumulator.objective = objective
    with pytest.raises(KeyboardInterrupt):
        list(trainer.steps(ListLoader(make_batches(2))))
    assert errors == [1]
    trainer.state_dict()
