"""The step: sums divided once, one finite flag, and what a step that is not applied leaves behind: nothing."""

import copy
import math

import pytest
import torch
from torch import nn

from mambrane.engine.extensions import Extensions
from mambrane.engine.objective import Objective
from mambrane.engine.refusals import DivergedError, TornStateError
from mambrane.engine.transaction import StepState
from tests.engine.oracle import Oracle
from tests.engine.tiny_training import (
    CPU,
    INFINITE,
    NOT_A_NUMBER,
    AddOne,
    Drift,
    EventList,
    ListLoader,
    TinyModel,
    make_batch,
    make_batches,
    make_trainer,
    poisoned_objective,
    training_differences,
)

POISONS = {"infinite": INFINITE, "not a number": NOT_A_NUMBER}
UNTOUCHED_BY_A_SKIP = ("counters", "precision", "random")


def gradients_of(trainer, batches):
    """The gradients with which a step would step: caught at the optimizer, before it moves anything."""
    caught = {}

    def catch(optimizer, arguments, options):
        caught.update({name: weight.grad.clone() for name, weight in trainer.model.named_parameters()})

    handle = trainer.optimizers[0].register_step_pre_hook(catch)
    list(trainer.steps(ListLoader(batches)))
    handle.remove()
    return caught


def count_steps(optimizer):
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    return steps


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("num_batches", [4, 8, 12])
def test_no_phantom_step_when_the_steps_divide_the_epoch(precision, num_batches):
    trainer = make_trainer(precision=precision, accumulation_steps=4)
    steps = count_steps(trainer.optimizers[0])
    list(trainer.steps(ListLoader(make_batches(num_batches))))
    assert len(steps) == trainer.counters.applied == num_batches // 4
    assert trainer.ema.num_updates == num_batches // 4


def test_no_phantom_step_moves_momentum_or_decays_weights():
    model = TinyModel()
    plain = copy.deepcopy(model)

    def sgd(weights):
        return torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=0.1)

    trainer = make_trainer(
        model,
        precision="fp16",
        optimizers=(sgd(model.parameters()),),
        accumulation_steps=4,
        warmup_ratio=0.0,
        min_learning_rate_ratio=1.0,
        gradient_clip=0.0,
    )
    batches = make_batches(8)
    list(trainer.steps(ListLoader(batches)))
    optimizer = sgd(plain.parameters())
    for first in (0, 4):
        optimizer.zero_grad()
        losses = [poisoned_objective(plain, batch).loss_sum for batch in batches[first : first + 4]]
        (torch.stack(losses).sum() / sum(batch.num_targets for batch in batches[first : first + 4])).backward()
        optimizer.step()
    torch.testing.assert_close(dict(model.state_dict()), dict(plain.state_dict()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_token_weighs_the_same_in_whatever_micro_batch_it_comes(precision, order):
    counts = (1, 7, 0, 128)
    parts = [make_batch(seed, rows=8, tokens=16, num_targets=counts[seed]) for seed in range(4)]
    trainer = make_trainer(precision=precision, accumulation_steps=4, gradient_clip=0.0)
    reference = Oracle(TinyModel(), trainer.config, 20)
    gradients = gradients_of(trainer, [parts[number] for number in order])
    reference.train_on(parts)
    for name, weight in reference.model.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-12, atol=1e-12)
    assert trainer.counters.tokens == sum(counts)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_without_a_counted_target_changes_nothing_but_its_count(precision):
    extensions = Extensions(after_steps=(Drift(),))
    trainer = make_trainer(precision=precision, extensions=extensions, accumulation_steps=3)
    list(trainer.steps(ListLoader(make_batches(3))))
    before = copy.deepcopy(trainer.state_dict())
    (result,) = trainer.steps(ListLoader(make_batches(3, seed=1, num_targets=0)))
    assert result.state is StepState.EMPTY
    assert result.reason == "no counted target"
    assert result.loss is None
    assert training_differences(before, trainer.state_dict(), besides=["counters"]) == []
    assert trainer.counters.empty == 1
    assert trainer.counters.micro_steps == 6


def test_a_micro_batch_without_a_counted_target_is_as_if_it_were_not_there():
    def run(batches):
        trainer = make_trainer(accumulation_steps=len(batches))
        list(trainer.steps(ListLoader(batches)))
        return trainer.state_dict()

    ignored = make_batch(9, num_targets=0, first_token=NOT_A_NUMBER)
    good = make_batches(2)
    assert training_differences(run([good[0], ignored, good[1]]), run(good), besides=["counters", "random"]) == []


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_one_bad_micro_batch_discards_its_whole_step_and_nothing_else(precision, position, poison):
    drift = Drift()
    trainer = make_trainer(precision=precision, accumulation_steps=3, extensions=Extensions(after_steps=(drift,)))
    list(trainer.steps(ListLoader(make_batches(3))))
    before, views = copy.deepcopy(trainer.state_dict()), len(drift.views)
    scale = trainer.precision.scale
    bad = make_batches(3, seed=1)
    bad[position] = make_batch(7, first_token=POISONS[poison])
    good = make_batches(3, seed=2)
    skipped, applied = trainer_steps_with_state(trainer, [*bad, *good], before)
    assert skipped.state is StepState.SKIPPED
    assert "embedding.weight is not finite" in skipped.reason
    assert trainer.precision.scale == (scale / 2 if precision == "fp16" else 1.0)
    assert applied.state is StepState.COMMITTED
    assert len(drift.views) == views + 1


def trainer_steps_with_state(trainer, batches, expected_after_first):
    """Run two steps; after the first the state must be what it was."""
    results = []
    for result in trainer.steps(ListLoader(batches)):
        results.append(result)
        if len(results) == 1:
            state = trainer.state_dict()
            assert training_differences(expected_after_first, state, besides=["counters", "precision"]) == []
            assert all(weight.grad is None for weight in trainer.model.parameters())
    return results


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_after_a_discarded_step_the_next_one_uses_no_old_gradient(precision):
    good = make_batches(3, seed=2)
    bad = [make_batch(5), make_batch(6, first_token=INFINITE), make_batch(7)]

    def weights_after(batches):
        trainer = make_trainer(precision=precision, accumulation_steps=3)
        list(trainer.steps(ListLoader(batches)))
        return trainer.state_dict()["weights"]

    assert training_differences(weights_after([*bad, *good]), weights_after(good)) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_too_many_discarded_steps_in_a_row_end_the_run_with_the_name_of_the_parameter(precision):
    trainer = make_trainer(precision=precision, accumulation_steps=1, max_consecutive_skips=3, gradient_clip=1.0)
    bad, good = make_batch(1, first_token=NOT_A_NUMBER), make_batch(2)
    results = trainer.steps(ListLoader([bad, bad, good, bad, bad, bad, good]))
    states = [next(results).state for _ in range(5)]
    assert states == [StepState.SKIPPED] * 2 + [StepState.COMMITTED] + [StepState.SKIPPED] * 2
    with pytest.raises(DivergedError, match=r"3 steps in a row.*embedding\.weight"):
        next(results)
    assert all(bool(torch.isfinite(weight).all()) for weight in trainer.model.parameters())
    trainer.state_dict()


@pytest.mark.parametrize("name", ["embedding.weight", "hidden.weight", "scores.bias"])
def test_of_all_gradients_the_one_that_is_not_a_number_is_named(name):
    events = EventList()
    trainer = make_trainer(accumulation_steps=1, max_consecutive_skips=2, events=events)
    spoil = torch.zeros_like(trainer.model.get_parameter(name))
    spoil.view(-1)[-1] = math.nan
    trainer.model.get_parameter(name).register_hook(lambda gradient: gradient + spoil)
    with pytest.raises(DivergedError, match=f"the gradient of {name} is not finite"):
        list(trainer.steps(ListLoader(make_batches(3))))
    assert [event["reason"] for event in events.events] == [f"the gradient of {name} is not finite"] * 2


def test_a_norm_that_overflows_without_a_bad_element_is_skipped_too():
    model = TinyModel(dtype=torch.float32)

    def huge(model, batch):
        loss_sum, output = poisoned_objective(model, batch)
        return Objective(loss_sum * 1e30, output)

    trainer = make_trainer(model, objective=huge, accumulation_steps=1)
    (result,) = trainer.steps(ListLoader(make_batches(1)))
    assert result.state is StepState.SKIPPED
    assert "norm of the gradient overflowed" in result.reason


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_parameter_without_a_gradient_is_left_alone(precision):
    class TwoBranches(TinyModel):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(3, 3).double()

    trainer = make_trainer(TwoBranches(), precision=precision, weight_decay=0.5)
    before = trainer.model.unused.weight.detach().clone()
    results = list(trainer.steps(ListLoader(make_batches(8))))
    assert {result.state for result in results} == {StepState.COMMITTED}
    assert torch.equal(trainer.model.unused.weight, before)
    assert not [name for name in trainer.state_dict()["optimizer"] if name.startswith("unused")]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_branches_that_alternate_within_a_step_all_learn(precision):
    class Alternating(TinyModel):
        def forward(self, inputs_BT, *, resets_BT=None):
            output = super().forward(inputs_BT)
            return output if int(inputs_BT[0, 1]) % 2 else output._replace(logits_BTV=output.logits_BTV.detach())

    batches = make_batches(6)
    trainer = make_trainer(Alternating(), precision=precision, accumulation_steps=6)
    live = [batch for batch in batches if int(batch.inputs_BT[0, 1]) % 2]
    assert 0 < len(live) < 6
    (result,) = trainer.steps(ListLoader(batches))
    assert result.state is StepState.COMMITTED
    assert result.num_targets == sum(batch.num_targets for batch in batches)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_frozen_model_gives_empty_steps_and_learns_again_when_it_is_thawed(precision):
    trainer = make_trainer(precision=precision)
    trainer.model.requires_grad_(False)
    before = copy.deepcopy(trainer.state_dict())
    (frozen,) = trainer.steps(ListLoader(make_batches(4)))
    assert frozen.state is StepState.EMPTY
    assert frozen.reason == "no parameter received a gradient"
    assert training_differences(before, trainer.state_dict(), besides=["counters"]) == []
    trainer.model.requires_grad_(True)
    (thawed,) = trainer.steps(ListLoader(make_batches(4)))
    assert thawed.state is StepState.COMMITTED


def test_parameters_thawed_in_the_middle_of_a_run_are_trained_and_saved():
    trainer = make_trainer()
    trainer.model.hidden.requires_grad_(False)
    list(trainer.steps(ListLoader(make_batches(4))))
    assert "hidden.weight" not in trainer.state_dict()["optimizer"]
    frozen = trainer.model.hidden.weight.detach().clone()
    trainer.model.hidden.requires_grad_(True)
    list(trainer.steps(ListLoader(make_batches(4))))
    assert not torch.equal(trainer.model.hidden.weight, frozen)
    state = trainer.state_dict()
    assert int(state["optimizer"]["hidden.weight"]["step"]) == 1
    assert int(state["optimizer"]["scores.weight"]["step"]) == 2
    again = make_trainer()
    again.load_state_dict(state)
    assert training_differences(state, again.state_dict()) == []


def two_optimizers(model, wrap=lambda optimizer: optimizer):
    first = torch.optim.AdamW([*model.embedding.parameters(), *model.hidden.parameters()], lr=0.01, fused=True)
    return first, wrap(torch.optim.SGD(model.scores.parameters(), lr=0.01, momentum=0.9))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_two_optimizers_step_together_or_not_at_all(precision):
    model = TinyModel()
    optimizers = two_optimizers(model)
    steps = [count_steps(optimizer) for optimizer in optimizers]
    trainer = make_trainer(model, precision=precision, optimizers=optimizers, accumulation_steps=1)
    # Only the second optimizer's parameters get a bad gradient in the second step.
    results = iter(trainer.steps(ListLoader(make_batches(3))))
    next(results)
    handle = model.scores.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = copy.deepcopy(trainer.state_dict())
    assert next(results).state is StepState.SKIPPED
    handle.remove()
    assert training_differences(before, trainer.state_dict(), besides=UNTOUCHED_BY_A_SKIP) == []
    assert next(results).state is StepState.COMMITTED
    assert [len(taken) for taken in steps] == [2, 2]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_optimizer_none_of_whose_parameters_has_a_gradient_is_no_obstacle(precision):
    model = TinyModel()
    trainer = make_trainer(model, precision=precision, optimizers=two_optimizers(model), accumulation_steps=1)
    model.scores.requires_grad_(False)
    results = list(trainer.steps(ListLoader(make_batches(3))))
    assert [result.state for result in results] == [StepState.COMMITTED] * 3
    assert set(trainer.state_dict()["optimizer"]) == {"embedding.weight", "hidden.weight", "hidden.bias"}


class Wrapper(torch.optim.Optimizer):
    """An optimizer around another one, with an identity of its own."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.param_groups, inner.defaults)
        self.param_groups, self.state = inner.param_groups, inner.state

    def step(self, closure=None):
        return self.inner.step(closure)


def test_a_wrapped_optimizer_sees_the_same_gradients_as_a_plain_one():
    def run(wrap):
        model = TinyModel()
        trainer = make_trainer(model, precision="fp16", optimizers=two_optimizers(model, wrap), accumulation_steps=2)
        list(trainer.steps(ListLoader(make_batches(6))))
        return dict(model.state_dict())

    assert training_differences(run(Wrapper), run(lambda optimizer: optimizer)) == []


@pytest.mark.parametrize("gradient_clip", [0.0, 0.05, 1e6])
@pytest.mark.parametrize("scale", [1.0, 2.0**8, 2.0**16])
def test_gradients_are_clipped_after_they_are_unscaled(gradient_clip, scale):
    trainer = make_trainer(precision="fp16", initial_scale=scale, gradient_clip=gradient_clip)
    reference = Oracle(TinyModel(), trainer.config, 20)
    batches = make_batches(4)
    gradients = gradients_of(trainer, batches)
    reference.train_on(batches)
    for name, weight in reference.model.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-11, atol=1e-14)


def test_a_zero_gradient_is_clipped_to_zero_and_applied():
    def nothing(model, batch):
        loss_sum, output = poisoned_objective(model, batch)
        return Objective(loss_sum * 0, output)

    trainer = make_trainer(objective=nothing, gradient_clip=0.5)
    (result,) = trainer.steps(ListLoader(make_batches(4)))
    assert result.state is StepState.COMMITTED
    assert result.gradient_norm == 0.0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_an_error_in_the_loss_aborts_the_step_without_a_trace(precision, failing_call):
    calls = []

    def objective(model, batch):
        calls.append(1)
        if len(calls) == failing_call + 3:
            raise ZeroDivisionError
        return poisoned_objective(model, batch)

    mixer = AddOne()
    trainer = make_trainer(
        TinyModel(dropout=0.3),
        objective=objective,
        precision=precision,
        accumulation_steps=3,
        extensions=Extensions(batch_mixers=(mixer,)),
    )
    loader = ListLoader(make_batches(9))
    results = trainer.steps(loader)
    next(results)
    before = copy.deepcopy(trainer.state_dict())
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert training_differences(before, trainer.state_dict(), besides=["counters"]) == []
    assert trainer.counters.aborted == 1
    assert (loader.committed, loader.handed_out) == (3, 3)
    assert all(weight.grad is None for weight in trainer.model.parameters())
    assert len(list(trainer.steps(loader))) == 2


def test_an_error_behind_the_point_of_no_return_forbids_to_save_or_go_on():
    class Fails(Drift):
        def after_step(self, view):
            raise ZeroDivisionError

    trainer = make_trainer(extensions=Extensions(after_steps=(Fails(),)))
    loader = ListLoader(make_batches(8))
    with pytest.raises(ZeroDivisionError):
        list(trainer.steps(loader))
    with pytest.raises(TornStateError, match="resumes from the last checkpoint"):
        trainer.state_dict()
    with pytest.raises(TornStateError):
        list(trainer.steps(loader))
    with pytest.raises(TornStateError):
        trainer.begin_task(3)


def test_buffers_that_moved_in_a_discarded_step_come_back():
    class Running(TinyModel):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

        def forward(self, inputs_BT, *, resets_BT=None):
            output = super().forward(inputs_BT)
            self.mean += output.logits_BTV.detach().mean()
            return output

    trainer = make_trainer(Running(), accumulation_steps=2)
    bad = [make_batch(0), make_batch(1, first_token=INFINITE)]
    (result,) = trainer.steps(ListLoader(bad))
    assert result.state is StepState.SKIPPED
    assert float(trainer.model.mean) == 0.0
    list(trainer.steps(ListLoader(make_batches(2))))
    assert float(trainer.model.mean) != 0.0


def test_the_loss_of_a_step_is_the_main_loss_alone():
    class Term(AddOne):
        def term(self, model, output, batch):
            return output.activity[0].sum()

    class Penalty(AddOne):
        def penalty(self, model):
            return 0.5 * sum(weight.square().sum() for weight in model.parameters())

    extensions = Extensions(loss_terms=(Term("term"),), penalties=(Penalty("penalty"),))
    trainer, plain = make_trainer(extensions=extensions), make_trainer()
    (with_both,) = trainer.steps(ListLoader(make_batches(4)))
    (alone,) = plain.steps(ListLoader(make_batches(4)))
    assert with_both.loss == alone.loss
    assert with_both.terms.keys() == {"term"}
    assert with_both.penalties.keys() == {"penalty"}
    assert with_both.gradient_norm != alone.gradient_norm


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_penalty_is_added_once_and_a_term_is_divided_like_the_loss(precision):
    class Term(AddOne):
        def term(self, model, output, batch):
            return 0.3 * output.activity[0].square().sum()

    class Penalty(AddOne):
        def penalty(self, model):
            return 0.5 * model.hidden.weight.square().sum()

    extensions = Extensions(loss_terms=(Term("term"),), penalties=(Penalty("penalty"),))
    trainer = make_trainer(precision=precision, extensions=extensions, gradient_clip=0.0)
    batches = make_batches(4)
    gradients = gradients_of(trainer, batches)
    model = TinyModel()
    num_targets = sum(batch.num_targets for batch in batches)
    total = 0.5 * model.hidden.weight.square().sum()
    for batch in batches:
        loss_sum, output = poisoned_objective(model, batch)
        total = total + (loss_sum + 0.3 * output.activity[0].square().sum()) / num_targets
    total.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-11, atol=1e-13)


def test_a_penalty_that_is_not_finite_discards_the_step():
    class Penalty(AddOne):
        def penalty(self, model):
            return model.hidden.weight.sum() * float("nan")

    trainer = make_trainer(precision="fp16", extensions=Extensions(penalties=(Penalty(),)), accumulation_steps=1)
    before = copy.deepcopy(trainer.state_dict()["weights"])
    (result,) = trainer.steps(ListLoader(make_batches(1)))
    assert result.state is StepState.SKIPPED
    assert "hidden.weight" in result.reason
    assert training_differences(before, trainer.state_dict()["weights"]) == []


def test_the_device_of_the_step_is_where_the_batches_go():
    assert make_trainer().training_step.device == CPU
