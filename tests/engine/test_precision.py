"""Precision: the loss scale, on the real GradScaler, and the arithmetic of the forward pass."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.engine.config import EngineConfig
from mambrane.engine.precision import Precision, choose_precision
from mambrane.engine.refusals import DivergedError
from mambrane.engine.trainer import Trainer
from mambrane.engine.transaction import StepState
from tests.engine.tiny_training import (
    CPU,
    INFINITE,
    EventList,
    ListLoader,
    TinyModel,
    differences,
    make_batches,
    make_trainer,
)


def fp16(**options):
    return Precision("fp16", CPU, **options)


def gradient_of(precision, weight, expected_targets, num_targets):
    """The gradient of a summed loss of 3 * weight for each target, as the engine computes it."""
    weight.grad = None
    precision.expect(expected_targets)
    precision.scaled((3 * weight * num_targets).sum()).backward()
    return weight.grad * precision.unscale_factor(num_targets)


@pytest.mark.parametrize(("mixed", "expected"), [(True, "fp32"), (False, "fp32")])
def test_auto_is_fp32_on_a_cpu(mixed, expected):
    assert choose_precision("auto", mixed_precision=mixed, device=CPU) == expected


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_named_precision_is_used_as_it_is(name):
    assert choose_precision(name, mixed_precision=True, device=CPU) == name


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu_is_bf16_where_the_gpu_has_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert choose_precision("auto", mixed_precision=True, device=torch.device("cuda")) == expected
    assert choose_precision("auto", mixed_precision=False, device=torch.device("cuda")) == "fp32"


@pytest.mark.parametrize(
    ("kind", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_forward_pass_computes_in_the_chosen_precision(kind, dtype):
    with Precision(kind, CPU).autocast():
        assert torch.nn.Linear(3, 3)(torch.ones(1, 3)).dtype == dtype


def test_the_scaler_on_the_cpu_is_the_real_one_and_really_on():
    weight = torch.ones((), requires_grad=True)
    fp16(initial_scale=2.0**10).scaled(weight * 1).backward()
    assert weight.grad == 2.0**10


@pytest.mark.skipif(torch.cuda.is_available(), reason="the scaler of this machine works on CUDA")
def test_a_scaler_that_turned_itself_off_is_refused():
    with pytest.warns(UserWarning, match="CUDA is not available"), pytest.raises(UserError, match="no loss scaling"):
        Precision("fp16", torch.device("cuda"))


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_the_expected_number_of_targets_changes_no_bit_of_the_gradient(expected_targets, other):
    weight = torch.tensor([0.3, -1.7], requires_grad=True)
    precision = fp16(initial_scale=2.0**12)
    gradient = gradient_of(precision, weight, expected_targets, 7)
    assert torch.equal(gradient, gradient_of(precision, weight, other, 7))
    assert torch.allclose(gradient, torch.full((2,), 3.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_without_fp16_nothing_is_scaled(kind):
    precision = Precision(kind, CPU)
    loss = torch.tensor(3.7)
    assert precision.scaled(loss) is loss
    assert precision.scale == 1.0
    assert precision.unscale_factor(8) == 1 / 8
    precision.update(is_finite=False)
    assert not precision.is_exhausted
    assert precision.state_dict() == {"kind": kind, "scaler": None}


def test_a_scale_that_never_scaled_a_loss_can_be_updated():
    precision = fp16(initial_scale=8.0)
    precision.update(is_finite=False)
    assert precision.scale == 4.0


def test_an_update_before_any_loss_was_scaled_is_never_asked_for():
    trainer = make_trainer(precision="fp16")
    before = trainer.precision.state_dict()
    for batches in ([], make_batches(3, num_targets=0)):
        list(trainer.steps(ListLoader(batches)))
    assert trainer.precision.state_dict() == before


def test_the_scale_halves_on_overflow_and_doubles_after_the_growth_interval():
    trainer = make_trainer(precision="fp16", initial_scale=8.0, growth_interval=2, accumulation_steps=1)
    batches = make_batches(7)
    batches[2] = make_batches(1, first_token=INFINITE)[0]
    scales = [result.scale for result in trainer.steps(ListLoader(batches))]
    assert scales == [8, 8, 16, 8, 8, 16, 16]
    assert trainer.precision.scale == 32


@pytest.mark.parametrize("saved_after", [1, 2, 3, 4, 5])
def test_a_resumed_run_doubles_the_scale_at_the_same_step(saved_after):
    batches = make_batches(8)

    def run(stop_and_resume):
        loader = ListLoader(batches)
        trainer = make_trainer(precision="fp16", initial_scale=4.0, growth_interval=3, accumulation_steps=1)
        scales = []
        for result in trainer.steps(loader):
            scales.append(result.scale)
            if stop_and_resume and len(scales) == saved_after:
                state, cursor = trainer.state_dict(), loader.state_dict()
                trainer = make_trainer(precision="fp16", initial_scale=4.0, growth_interval=3, accumulation_steps=1)
                trainer.load_state_dict(state)
                loader = ListLoader(batches)
                loader.load_state_dict(cursor)
                scales.extend(result.scale for result in trainer.steps(loader))
                break
        return scales

    assert run(stop_and_resume=True) == run(stop_and_resume=False) == [4, 4, 4, 8, 8, 8, 16, 16]


def test_a_change_of_precision_on_resume_keeps_the_scale_for_the_way_back_and_says_so():
    events = EventList()
    first = fp16(initial_scale=2.0**9, growth_interval=5)
    first.scaled(torch.ones((), requires_grad=True))
    first.update(is_finite=True)
    second = Precision("bf16", CPU)
    second.load_state_dict(first.state_dict(), events.log)
    second.update(is_finite=True)
    third = fp16()
    third.load_state_dict(second.state_dict(), events.log)
    assert third.state_dict()["scaler"] == first.state_dict()["scaler"]
    assert third.scale == 2.0**9
    changes = [(event["saved"], event["now"]) for event in events.events]
    assert events.kinds() == ["precision_changed", "precision_changed"]
    assert changes == [("fp16", "bf16"), ("bf16", "fp16")]


def test_fp16_on_a_run_that_never_had_a_scale_starts_one():
    precision = fp16(initial_scale=2.0**7)
    precision.load_state_dict(Precision("fp32", CPU).state_dict())
    assert precision.scale == 2.0**7


def test_resuming_in_the_same_precision_is_no_event():
    events = EventList()
    fp16().load_state_dict(fp16().state_dict(), events.log)
    assert events.kinds() == []


def test_no_scaler_call_falls_between_the_first_backward_and_the_end_of_a_step(monkeypatch):
    calls = []
    for name in ("scale", "unscale_", "step", "update", "load_state_dict"):
        original = getattr(torch.amp.GradScaler, name)

        def spy(scaler, *arguments, name=name, original=original):
            calls.append(name)
            return original(scaler, *arguments)

        monkeypatch.setattr(torch.amp.GradScaler, name, spy)
    trainer = make_trainer(precision="fp16", accumulation_steps=3)
    calls.clear()
    batches = make_batches(8)
    batches[4] = make_batches(1, first_token=INFINITE)[0]
    list(trainer.steps(ListLoader(batches)))
    whole = ["scale", "scale", "scale", "unscale_", "update"]
    assert calls == [*whole, *whole, "scale", "scale", "unscale_", "update"]


def test_a_scale_that_has_fallen_to_nothing_ends_the_run_with_the_name_of_the_parameter():
    trainer = make_trainer(precision="fp16", initial_scale=2.0**-13, accumulation_steps=1, max_consecutive_skips=100)
    loader = ListLoader(make_batches(3, first_token=INFINITE))
    results = trainer.steps(loader)
    assert next(results).state is StepState.SKIPPED
    with pytest.raises(DivergedError, match=r"embedding\.weight"):
        next(results)
    assert trainer.counters.skipped == 2
    assert loader.committed == 2


@settings(max_examples=15)
@given(st.sampled_from([2.0**0, 2.0**8, 2.0**16]), st.integers(1, 4))
def test_norms_losses_and_weights_do_not_depend_on_the_scale(scale, accumulation_steps):
    batches = make_batches(6)

    def run(precision, **options):
        trainer = make_trainer(precision=precision, accumulation_steps=accumulation_steps, gradient_clip=0.1, **options)
        results = list(trainer.steps(ListLoader(batches)))
        return [(r.gradient_norm, r.loss) for r in results], trainer.state_dict()["weights"]

    numbers, weights = run("fp16", initial_scale=scale)
    plain_numbers, plain_weights = run("fp32")
    torch.testing.assert_close(numbers, plain_numbers, rtol=1e-12, atol=0)
    torch.testing.assert_close(weights, plain_weights, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_refused(dtype):
    with pytest.raises(UserError, match=r"embedding\.weight"):
        Trainer(TinyModel(dtype=dtype), EngineConfig(), device=CPU, events=EventList().log)


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_lower_precision_learns_about_the_same_as_fp32(kind):
    def run(precision):
        model = TinyModel(dtype=torch.float32, exact=False)
        results = list(make_trainer(model, precision=precision).steps(ListLoader(make_batches(40))))
        assert {result.state for result in results} == {StepState.COMMITTED}
        return torch.tensor([result.loss for result in results])

    losses = run(kind)
    torch.testing.assert_close(losses, run("fp32"), rtol=0.01, atol=0)
    assert not torch.equal(losses, run("fp32"))


def test_an_overflow_of_real_half_precision_is_skipped_and_the_scale_comes_down():
    model = TinyModel(dtype=torch.float32, exact=False)
    trainer = make_trainer(model, precision="fp16", initial_scale=2.0**24, max_consecutive_skips=100)
    before = trainer.state_dict()
    states = []
    loader = ListLoader(make_batches(60))
    for result in trainer.steps(loader):
        if result.state is StepState.SKIPPED and StepState.COMMITTED not in states:
            assert differences(before["weights"], trainer.state_dict()["weights"]) == []
        states.append(result.state)
    assert states[0] is StepState.SKIPPED
    assert states[-1] is StepState.COMMITTED
    assert trainer.precision.scale == 2.0 ** (24 - trainer.counters.skipped)
