"""The trainer: epochs, tails, stops, and resuming exactly from every step."""

import copy
import os
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mambrane.core.errors import UserError
from mambrane.core.stateful import Stateful
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import Extensions
from mambrane.engine.signals import StopRequest
from mambrane.engine.trainer import Trainer
from mambrane.engine.transaction import StepState
from tests.engine.tiny_training import (
    INFINITE,
    AddOne,
    Drift,
    EventList,
    ListLoader,
    TinyModel,
    differences,
    make_batch,
    make_batches,
    make_trainer,
    training_differences,
)


def busy_extensions():
    return Extensions(batch_mixers=(AddOne(),), after_steps=(Drift(),))


def busy_trainer(**options):
    torch.manual_seed(11)
    options = {"precision": "fp16", "initial_scale": 2.0**6, "growth_interval": 3, "accumulation_steps": 3} | options
    return make_trainer(TinyModel(dropout=0.3), extensions=busy_extensions(), **options)


def mixed_batches(count):
    """Good micro-batches with an overflow and a run of ignored ones in between."""
    batches = make_batches(count)
    if count > 4:
        batches[4] = make_batch(4, first_token=INFINITE)
    for number in range(6, min(9, count)):
        batches[number] = make_batch(number, num_targets=0)
    return batches


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_empty_loader_is_told_and_changes_nothing_before_and_after_the_first_step(precision):
    events = EventList()
    trainer = make_trainer(precision=precision, events=events)
    for batches in ([], make_batches(4), []):
        before = copy.deepcopy(trainer.state_dict())
        loader = ListLoader(batches)
        results = list(trainer.steps(loader))
        assert loader.epoch == 1
        if not batches:
            assert results == []
            assert training_differences(before, trainer.state_dict()) == []
    assert events.kinds() == ["epoch_without_steps"] * 2


def test_an_epoch_shorter_than_one_step_is_one_step_with_the_mean_over_what_there_is():
    trainer = make_trainer(accumulation_steps=8)
    whole = make_trainer(accumulation_steps=1)
    batches = make_batches(3)
    (result,) = trainer.steps(ListLoader(batches))
    joined = MicroBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    (expected,) = whole.steps(ListLoader([joined]))
    torch.testing.assert_close(result.gradient_norm, expected.gradient_norm, rtol=1e-12, atol=0)
    torch.testing.assert_close(result.loss, expected.loss, rtol=1e-12, atol=0)


def test_no_gradient_crosses_the_end_of_an_epoch():
    batches = make_batches(7)
    trainer = make_trainer(accumulation_steps=3, learning_rate=1e-12, weight_decay=0.0)
    loader = ListLoader(batches)
    norms = [[result.gradient_norm for result in trainer.steps(loader)] for _ in range(3)]
    assert len(norms[0]) == 3
    torch.testing.assert_close(norms[1], norms[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(norms[2], norms[0], rtol=1e-9, atol=0)


def test_the_carry_policy_gives_the_steps_of_one_long_stream():
    batches = make_batches(7)
    carrying = make_trainer(accumulation_steps=3, tail_policy="carry")
    loader = ListLoader(batches)
    carried = [list(carrying.steps(loader)) for _ in range(3)]
    long = make_trainer(accumulation_steps=3)
    straight = list(long.steps(ListLoader(batches * 3)))
    assert [len(results) for results in carried] == [2, 2, 3]
    flat = [result for results in carried for result in results]
    assert [(r.loss, r.gradient_norm) for r in flat] == [(r.loss, r.gradient_norm) for r in straight]
    assert carrying.counters == long.counters
    assert carrying.carried == []


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_a_carried_tail_survives_a_restart_and_is_neither_lost_nor_repeated(stop_after):
    batches = make_batches(7)

    def run(stop_after):
        trainer, loader = busy_trainer(tail_policy="carry"), ListLoader(batches)
        closed = 0
        while loader.epoch < 3:
            for _ in trainer.steps(loader):
                closed += 1
                if closed == stop_after:
                    break
            if closed == stop_after:
                closed += 1000
                state, cursor = copy.deepcopy(trainer.state_dict()), loader.state_dict()
                trainer, loader = busy_trainer(tail_policy="carry"), ListLoader(batches)
                trainer.load_state_dict(state)
                loader.load_state_dict(cursor)
        return trainer.state_dict()

    assert training_differences(run(stop_after), run(None)) == []


def test_a_tail_saved_between_two_epochs_is_in_the_checkpoint():
    trainer, loader = make_trainer(accumulation_steps=3, tail_policy="carry"), ListLoader(make_batches(4))
    list(trainer.steps(loader))
    assert loader.state_dict() == {"epoch": 1, "committed": 0}
    saved = trainer.state_dict()
    assert len(saved["carried"]) == 1
    again = make_trainer(accumulation_steps=3, tail_policy="carry")
    again.load_state_dict(saved)
    assert differences(list(again.carried[0]), list(make_batches(4)[3])) == []


def test_a_carried_tail_waits_through_epochs_that_cannot_fill_a_step():
    trainer = make_trainer(accumulation_steps=4, tail_policy="carry")
    lengths = []
    for batches in (make_batches(1), [], make_batches(2, seed=1), [], make_batches(2, seed=2)):
        list(trainer.steps(ListLoader(batches)))
        lengths.append(len(trainer.carried))
    assert lengths == [1, 1, 3, 3, 1]
    assert trainer.counters.micro_steps == 4
    assert differences(list(trainer.carried[0]), list(make_batches(2, seed=2)[1])) == []


def test_an_aborted_step_keeps_the_carried_tail():
    asked = []
    trainer = make_trainer(accumulation_steps=3, tail_policy="carry", should_stop=lambda: bool(asked))
    loader = ListLoader(make_batches(4))
    list(trainer.steps(loader))
    original = trainer.training_step._accumulator.objective

    def objective(model, batch):
        asked.append(1)
        return original(model, batch)

    trainer.training_step._accumulator.objective = objective
    (result,) = trainer.steps(loader)
    assert result.state is StepState.ABORTED
    assert len(trainer.carried) == 1
    assert loader.state_dict() == {"epoch": 1, "committed": 0}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_tail_that_is_carried_at_the_end_of_its_task_is_dropped_and_told_once(is_restarted):
    events = EventList()
    options = {"accumulation_steps": 3, "tail_policy": "carry", "events": events}
    trainer, loader = make_trainer(**options), ListLoader(make_batches(4))
    list(trainer.steps(loader))
    if is_restarted:
        saved = copy.deepcopy(trainer.state_dict())
        trainer = make_trainer(**options)
        trainer.load_state_dict(saved)
    trainer.end_task(loader, 0)
    assert trainer.carried == trainer.state_dict()["carried"] == []
    trainer.begin_task(5)
    assert [(e["event"], e["micro_batches"]) for e in events.events] == [("tail_dropped", 1)]


def test_the_drop_policy_drops_the_tail_and_tells():
    events = EventList()
    trainer, loader = make_trainer(accumulation_steps=3, tail_policy="drop", events=events), ListLoader(make_batches(8))
    other = make_trainer(accumulation_steps=3)
    list(trainer.steps(loader))
    list(other.steps(ListLoader(make_batches(6))))
    assert [(e["event"], e["micro_batches"]) for e in events.events] == [("tail_dropped", 2)]
    assert training_differences(trainer.state_dict(), other.state_dict(), besides=["random"]) == []
    assert loader.epoch == 1


@pytest.mark.parametrize("fails_at", range(7))
def test_a_loader_that_fails_aborts_the_open_step_and_training_goes_on_as_if_nothing_had_been(fails_at):
    def run(fails_at):
        trainer, loader = busy_trainer(), ListLoader(make_batches(7), fails_at=fails_at)
        errors = 0
        while loader.epoch == 0:
            try:
                list(trainer.steps(loader))
            except OSError:
                errors += 1
                trainer.state_dict()
                assert loader.handed_out == loader.committed
        return trainer, errors

    (broken, errors), (smooth, _) = run(fails_at), run(None)
    assert errors == 1
    # Between two steps nothing was open yet.
    assert broken.counters.aborted == (0 if fails_at % 3 == 0 else 1)
    assert training_differences(broken.state_dict(), smooth.state_dict(), besides=["counters"]) == []
    assert broken.counters.applied == smooth.counters.applied == 3


@pytest.mark.parametrize("batches_before_the_stop", range(9))
def test_a_stop_closes_or_aborts_the_step_and_the_resumed_run_is_the_uninterrupted_one(batches_before_the_stop):
    batches = mixed_batches(8)
    calls = []
    stop = {"asked": False}

    def objective(model, batch):
        calls.append(1)
        stop["asked"] = stop["asked"] or len(calls) == batches_before_the_stop
        return TRUE_OBJECTIVE(model, batch)

    stop["asked"] = batches_before_the_stop == 0
    trainer, loader = busy_trainer(objective=objective, should_stop=lambda: stop["asked"]), ListLoader(batches)
    list(trainer.steps(loader))
    was_interrupted = loader.epoch == 0
    state, cursor = copy.deepcopy(trainer.state_dict()), loader.state_dict()
    resumed, loader = busy_trainer(), ListLoader(batches)
    resumed.load_state_dict(state)
    loader.load_state_dict(cursor)
    while loader.epoch == 0:
        list(resumed.steps(loader))
    straight, whole = busy_trainer(), ListLoader(batches)
    list(straight.steps(whole))
    assert whole.epoch == 1
    assert not was_interrupted or stop["asked"]
    assert training_differences(straight.state_dict(), resumed.state_dict(), besides=["counters"]) == []
    assert resumed.counters.applied == straight.counters.applied
    assert resumed.counters.aborted <= 1


TRUE_OBJECTIVE = make_trainer().training_step._accumulator.objective


def test_a_stop_during_the_last_micro_batch_lets_the_step_close():
    asked = []

    def objective(model, batch):
        asked.append(1)
        return TRUE_OBJECTIVE(model, batch)

    trainer = make_trainer(objective=objective, should_stop=lambda: len(asked) == 4, accumulation_steps=4)
    loader = ListLoader(make_batches(8))
    (result,) = trainer.steps(loader)
    assert result.state is StepState.COMMITTED
    assert loader.committed == 4


def deep_state(trainer, loader):
    return copy.deepcopy({"trainer": trainer.state_dict(), "loader": loader.state_dict()})


@pytest.mark.parametrize("tail_policy", ["step", "drop"])
def test_a_run_resumed_at_any_step_even_twice_is_the_straight_run_bit_for_bit(tail_policy):
    batches = mixed_batches(11)
    epochs = 2

    def start():
        return busy_trainer(tail_policy=tail_policy), ListLoader(batches)

    trainer, loader = start()
    states, results = [deep_state(trainer, loader)], []
    for _ in range(epochs):
        for result in trainer.steps(loader):
            states.append(deep_state(trainer, loader))
            results.append(result)
    assert StepState.SKIPPED in {result.state for result in results}
    assert StepState.EMPTY in {result.state for result in results}
    for first, state in enumerate(states):
        reached, seen = state, first
        # Interrupted at `first`, again two steps later, then on to the end.
        for stop in (first + 2, None):
            trainer, loader = start()
            trainer.load_state_dict(reached["trainer"])
            loader.load_state_dict(reached["loader"])
            while loader.epoch < epochs and seen != stop:
                for result in trainer.steps(loader):
                    assert repr(result) == repr(results[seen])
                    seen += 1
                    reached = deep_state(trainer, loader)
                    assert training_differences(reached["trainer"], states[seen]["trainer"]) == []
                    assert reached["loader"] == states[seen]["loader"]
                    if seen == stop:
                        break
        assert seen == len(results)


def test_saving_at_every_step_changes_nothing():
    def run(save):
        trainer, loader = busy_trainer(), ListLoader(mixed_batches(11))
        for _ in trainer.steps(loader):
            if save:
                trainer.state_dict()
        return trainer.state_dict()

    assert training_differences(run(save=True), run(save=False)) == []


@pytest.mark.parametrize("when", ["between steps", "inside a step"])
def test_a_validation_leaves_no_trace(when):
    def run(validate):
        trainer, loader = busy_trainer(), ListLoader(mixed_batches(11))

        def look():
            if validate:
                with trainer.evaluation():
                    trainer.model(make_batch(77).inputs_BT)
                    torch.rand(2)

        def objective(model, batch):
            if when == "inside a step":
                look()
            return TRUE_OBJECTIVE(model, batch)

        trainer.training_step._accumulator.objective = objective
        for _ in trainer.steps(loader):
            if when == "between steps":
                look()
        return trainer.state_dict()

    assert training_differences(run(validate=True), run(validate=False)) == []


@settings(max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(["good", "bad", "ignored"]), max_size=14),
    accumulation_steps=st.integers(1, 4),
    precision=st.sampled_from(["fp32", "fp16"]),
)
def test_the_counters_add_up_and_tell_what_happened(kinds, accumulation_steps, precision):
    make = {
        "good": lambda seed: make_batch(seed),
        "bad": lambda seed: make_batch(seed, first_token=INFINITE),
        "ignored": lambda seed: make_batch(seed, num_targets=0),
    }
    trainer = make_trainer(precision=precision, accumulation_steps=accumulation_steps)
    loader = ListLoader([make[kind](seed) for seed, kind in enumerate(kinds)])
    results = list(trainer.steps(loader))
    groups = [kinds[at : at + accumulation_steps] for at in range(0, len(kinds), accumulation_steps)]
    expected = ["SKIPPED" if "bad" in group else "COMMITTED" if "good" in group else "EMPTY" for group in groups]
    assert [result.state.name for result in results] == expected
    counters = trainer.counters
    assert counters.closed == len(groups)
    assert (counters.applied, counters.skipped, counters.empty, counters.aborted) == tuple(
        expected.count(name) for name in ("COMMITTED", "SKIPPED", "EMPTY", "ABORTED")
    )
    assert counters.micro_steps == len(kinds)
    assert counters.samples == 2 * len(kinds)
    assert counters.tokens == 10 * sum(kind != "ignored" for kind in kinds)
    assert sum(result.num_targets for result in results) == counters.tokens
    assert loader.epoch == 1


def test_leaving_the_loop_after_a_step_loses_nothing():
    trainer, loader = busy_trainer(), ListLoader(mixed_batches(11))
    while loader.epoch == 0:
        for _ in trainer.steps(loader):
            break
    straight = busy_trainer()
    list(straight.steps(ListLoader(mixed_batches(11))))
    assert training_differences(trainer.state_dict(), straight.state_dict()) == []


def stateful_objects(root):
    """Everything with a state_dict that can be reached from an object of ours through attributes and containers."""
    seen, found, waiting = set(), {}, [("trainer", root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, (str, int, float, torch.Tensor, type(None))):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            waiting.extend((f"{path}[{key!r}]", item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            waiting.extend((f"{path}[{number}]", item) for number, item in enumerate(value))
        else:
            if isinstance(value, (Stateful, torch.Generator)) and not isinstance(value, (Trainer, Extensions)):
                found[path] = value
            if type(value).__module__.startswith(("mambrane", "tests.engine.tiny_training")):
                names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
                waiting.extend((f"{path}.{name}", getattr(value, name)) for name in names)
    return found


def test_everything_that_has_a_state_is_in_the_state_of_the_trainer():
    trainer = busy_trainer()
    list(trainer.steps(ListLoader(make_batches(7))))
    saved_by = {
        "Counters": "counters",
        "LossWatch": "loss_watch",
        "Schedule": "schedule",
        "Precision": "precision",
        "GradScaler": "precision",
        "_LossScaler": "precision",
        "ExponentialMovingAverage": "weights",
        "TinyModel": "weights",
        "AdamW": "optimizer",
        "AddOne": "extensions",
        "Drift": "extensions",
        "Generator": "extensions",
    }
    scaffolding = {"SGD"}
    names = {type(value).__name__ for value in stateful_objects(trainer).values()}
    torch_modules = {"Embedding", "Linear", "Dropout"}
    assert names - torch_modules - scaffolding == saved_by.keys()
    assert set(saved_by.values()) <= trainer.state_dict().keys()


def test_no_part_of_the_state_is_forgotten_on_the_way_back():
    trainer = busy_trainer(tail_policy="carry")
    list(trainer.steps(ListLoader(mixed_batches(11))))
    state = copy.deepcopy(trainer.state_dict())
    other = busy_trainer(tail_policy="carry", total_steps=99)
    torch.rand(3)
    for part in state:
        assert training_differences(state, other.state_dict(), besides=[key for key in state if key != part]) != []
    other.load_state_dict(state)
    assert training_differences(state, other.state_dict()) == []


def test_a_state_is_made_of_plain_values_and_tensors():
    def kinds(value):
        if isinstance(value, dict):
            return set().union(*map(kinds, value.values())) | {type(key) for key in value}
        if isinstance(value, list):
            return set().union(*map(kinds, value))
        return {type(value)}

    trainer = busy_trainer(tail_policy="carry")
    list(trainer.steps(ListLoader(make_batches(7))))
    assert kinds(trainer.state_dict()) <= {str, int, float, bool, type(None), torch.Tensor}


def test_saved_weights_of_another_model_are_refused():
    saved = make_trainer().state_dict()
    other = make_trainer(torch.nn.Sequential(TinyModel()))
    with pytest.raises(UserError, match="do not fit this model"):
        other.load_state_dict(saved)


@pytest.mark.parametrize(("saved_decay", "decay"), [(0.0, 0.9), (0.9, 0.0)])
def test_an_average_that_appears_or_vanishes_is_refused(saved_decay, decay):
    saved = make_trainer(ema_decay=saved_decay).state_dict()
    with pytest.raises(UserError, match="ema-decay"):
        make_trainer(ema_decay=decay).load_state_dict(saved)


def test_without_an_average_the_evaluation_sees_the_weights():
    trainer = make_trainer(ema_decay=0.0)
    list(trainer.steps(ListLoader(make_batches(4))))
    before = copy.deepcopy(trainer.state_dict()["weights"])
    with trainer.evaluation():
        assert differences(before["model"], dict(trainer.model.state_dict())) == []
    assert before.keys() == {"model"}


def test_new_parameters_are_told():
    events = EventList()
    trainer = make_trainer(events=events)
    trainer.model.head = torch.nn.Linear(2, 2)
    trainer.begin_task(4)
    assert [(e["event"], e["names"]) for e in events.events] == [("parameters_added", ["head.weight", "head.bias"])]


class SignalAt:
    """Sends this process signals the first time that a phase is reached, at the second micro-batch."""

    def __init__(self, phase, number, times):
        self.phase, self.number, self.times = phase, number, times
        self.loader = ListLoader(mixed_batches(8))

    def reach(self, phase, handed_out=2):
        if phase == self.phase and handed_out >= 2:
            self.phase = None
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)

    def objective(self, model, batch):
        self.reach("data", self.loader.handed_out)
        result = TRUE_OBJECTIVE(model, batch)
        self.reach("forward", self.loader.handed_out)
        position = self.loader.handed_out
        if batch.num_targets:
            result.output.activity[0].register_hook(lambda gradient: self.reach("backward", position))
        return result

    def train(self, should_stop):
        trainer = busy_trainer(objective=self.objective, should_stop=should_stop)
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.reach("step"))
        for _ in trainer.steps(self.loader):
            with trainer.evaluation():
                self.reach("evaluation")
        return copy.deepcopy(trainer.state_dict())


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["data", "forward", "backward", "step", "evaluation"])
def test_a_signal_in_any_phase_ends_at_a_closed_step_and_the_resumed_run_is_the_uninterrupted_one(phase, number, times):
    sender = SignalAt(phase, number, times)
    with StopRequest(EventList().log) as stop:
        state = sender.train(lambda: stop.requested)
    assert stop.exit_code == 128 + number
    assert sender.loader.epoch == 0
    resumed, rest = busy_trainer(), ListLoader(mixed_batches(8))
    resumed.load_state_dict(state)
    rest.load_state_dict(sender.loader.state_dict())
    list(resumed.steps(rest))
    assert rest.epoch == 1
    straight = busy_trainer()
    list(straight.steps(ListLoader(mixed_batches(8))))
    assert training_differences(straight.state_dict(), resumed.state_dict(), besides=["counters"]) == []
