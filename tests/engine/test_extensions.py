"""The seams: what is refused, in which order extensions act, and that a seam at zero strength is no seam."""

import copy

import jaxtyping
import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.engine.extensions import ExtensionRefusedError, Extensions, StepChange
from tests.engine.recorder import Recorder
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


class Stateless:
    name = "stateless"

    def mix(self, batch):
        return batch

    def undo_point(self):
        return lambda: None


class Nameless:
    def mix(self, batch):
        return batch

    def undo_point(self):
        return lambda: None

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def in_every_seam(*extensions):
    seams = ("batch_mixers", "loss_terms", "penalties", "update_gates", "after_steps", "boundaries")
    return Extensions(**dict.fromkeys(seams, extensions))


@pytest.fixture
def _unchecked_types(monkeypatch):
    """Let our own check speak, which is there for callers without a type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_unchecked_types")
@pytest.mark.parametrize("extension", [Stateless(), Nameless(), object(), None])
def test_an_extension_that_could_not_be_saved_is_refused(extension):
    with pytest.raises(ExtensionRefusedError, match="a resumed run would lose it"):
        Extensions(batch_mixers=(extension,))


@pytest.mark.usefixtures("_unchecked_types")
@pytest.mark.parametrize("seam", ["loss_terms", "penalties", "update_gates", "after_steps", "boundaries"])
def test_an_extension_in_the_wrong_seam_is_refused(seam):
    with pytest.raises(ExtensionRefusedError, match="AddOne does not do"):
        Extensions(**{seam: (AddOne(),)})
    assert issubclass(ExtensionRefusedError, UserError)


def test_two_extensions_of_one_name_are_refused_and_one_in_two_seams_is_not():
    with pytest.raises(ExtensionRefusedError, match="two extensions named 'recorder'"):
        Extensions(batch_mixers=(Recorder(),), boundaries=(Recorder(),))
    one = Recorder()
    assert in_every_seam(one).by_name() == {"recorder": one}
    assert in_every_seam(one).state_dict() == {"recorder": {"state": 0}}


def test_the_order_within_a_step_is_fixed():
    journal = []
    extensions = in_every_seam(Recorder("first", journal), Recorder("second", journal))
    trainer = make_trainer(extensions=extensions, accumulation_steps=2)
    loader = ListLoader(make_batches(2))
    (result,) = trainer.steps(loader)
    seams = ("undo_point", "mix", "term", "penalty", "observe", "gate", "after_step")
    both = [[("first", seam), ("second", seam)] for seam in seams]
    undo_point, mix, term, penalty, observe, gate, after_step = both
    assert journal == [*undo_point, *mix, *term, *mix, *term, *penalty, *observe, *gate, *after_step]
    assert result.numbers == {"first/state": 1.0, "second/state": 1.0}
    journal.clear()
    trainer.end_task(loader, 0)
    assert journal == [("first", "boundary"), ("second", "boundary")]


def test_nothing_acts_after_a_step_that_was_not_applied():
    journal = []
    trainer = make_trainer(extensions=in_every_seam(Recorder(journal=journal)), accumulation_steps=1)
    list(trainer.steps(ListLoader([make_batch(0, first_token=INFINITE), make_batch(1, num_targets=0)])))
    assert [seam for _, seam in journal] == ["undo_point", "mix", "term", "penalty", "undo_point", "mix"]


def test_extensions_that_do_nothing_change_no_bit():
    def run(extensions):
        trainer = make_trainer(extensions=extensions)
        list(trainer.steps(ListLoader(make_batches(12))))
        return trainer.state_dict()

    left, right = run(Extensions()), run(in_every_seam(Recorder()))
    assert training_differences(left, right, besides=["extensions", "random"]) == []


def test_a_gate_sees_the_weights_before_and_after_and_may_hold_them_back():
    class Half(Recorder):
        def gate(self, before, after):
            return {name: before[name] + 0.5 * (weight - before[name]) for name, weight in after.items()}

    def moved(extensions):
        trainer = make_trainer(extensions=extensions, ema_decay=0.0)
        start = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
        list(trainer.steps(ListLoader(make_batches(4))))
        return {name: weight.detach() - start[name] for name, weight in trainer.model.named_parameters()}

    free, held = moved(Extensions()), moved(Extensions(update_gates=(Half(),)))
    for name in free:
        torch.testing.assert_close(held[name], 0.5 * free[name], rtol=1e-9, atol=1e-15)


def test_a_gate_observes_the_gradient_of_the_loss_without_penalties_and_clipping():
    class Observer(Recorder):
        def observe(self, gradients):
            self.gradients = {name: gradient.clone() for name, gradient in gradients.items()}

    class Pull(Recorder):
        def penalty(self, model):
            return 100.0 * sum(weight.square().sum() for weight in model.parameters())

    seen = []
    for penalties, clip in (((), 0.0), ((), 1e-3), ((Pull("pull"),), 1e-3)):
        observer = Observer()
        extensions = Extensions(penalties=penalties, update_gates=(observer,))
        list(make_trainer(extensions=extensions, gradient_clip=clip).steps(ListLoader(make_batches(4))))
        seen.append(observer.gradients)
    for other in seen[1:]:
        assert other.keys() == seen[0].keys()
        assert all(torch.equal(other[name], gradient) for name, gradient in seen[0].items())


def test_a_gate_that_leaves_a_weight_out_is_refused():
    class Forgetful(Recorder):
        def gate(self, before, after):
            return {name: weight for name, weight in after.items() if name != "hidden.weight"}

    trainer = make_trainer(extensions=Extensions(update_gates=(Forgetful(),)))
    with pytest.raises(ExtensionRefusedError, match=r"returns all weights but hidden\.weight"):
        list(trainer.steps(ListLoader(make_batches(4))))


def test_the_average_averages_what_plasticity_left():
    trainer = make_trainer(extensions=Extensions(after_steps=(Drift(rate=1.0),)), accumulation_steps=1)
    before = {name: tensor.clone() for name, tensor in trainer.ema.average.items()}
    list(trainer.steps(ListLoader(make_batches(1))))
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(trainer.ema.average[name], before[name].lerp(weight.detach(), 0.9))


def test_an_after_step_extension_sees_the_micro_batches_as_they_were_run():
    class Watcher(Recorder):
        def after_step(self, view):
            self.view = view
            return StepChange({})

    watcher, mixer = Watcher(), AddOne()
    trainer = make_trainer(extensions=Extensions(batch_mixers=(mixer,), after_steps=(watcher,)), accumulation_steps=3)
    batches = make_batches(3)
    (result,) = trainer.steps(ListLoader(batches))
    view = watcher.view
    assert (view.num_targets, view.applied_step, view.learning_rate) == (30, 1, result.learning_rate)
    assert len(view.micro_batches) == len(view.activities) == 3
    assert any(not torch.equal(a.inputs_BT, b.inputs_BT) for a, b in zip(view.micro_batches, batches, strict=True))
    assert not any(tensor.requires_grad for activity in view.activities for tensor in activity)


def test_a_boundary_may_use_gradients_and_leaves_none():
    class Fisher(Recorder):
        def boundary(self, view):
            output = view.model(make_batch(0).inputs_BT)
            output.logits_BTV.sum().backward()
            self.seen = (view.task_index, view.device.type)

    fisher = Fisher()
    trainer = make_trainer(extensions=Extensions(boundaries=(fisher,)))
    trainer.end_task(ListLoader([]), 3)
    assert fisher.seen == (3, "cpu")
    assert all(weight.grad is None for weight in trainer.model.parameters())


def test_the_state_of_extensions_comes_back_by_name():
    extensions = Extensions(batch_mixers=(AddOne("a"), AddOne("b")), after_steps=(Drift(),))
    for mixer in extensions.batch_mixers:
        mixer.mix(make_batch(0))
    saved = copy.deepcopy(extensions.state_dict())
    again = Extensions(batch_mixers=(AddOne("a"), AddOne("b")), after_steps=(Drift(),))
    again.load_state_dict(saved)
    assert differences(saved, again.state_dict()) == []


def test_a_run_saved_with_other_extensions_is_refused():
    saved = make_trainer(extensions=Extensions(after_steps=(Drift(),))).state_dict()
    with pytest.raises(ValueError, match=r"saved with the extensions \['drift'\], this run has \[\]"):
        make_trainer().load_state_dict(saved)


def test_an_aborted_step_rolls_its_mixers_back():
    mixer = AddOne()
    asked = []
    trainer = make_trainer(
        extensions=Extensions(batch_mixers=(mixer,)), should_stop=lambda: len(asked) > 0, accumulation_steps=4
    )
    before = copy.deepcopy(mixer.state_dict())
    original = mixer.mix

    def mix(batch):
        asked.append(1)
        return original(batch)

    mixer.mix = mix
    loader = ListLoader(make_batches(4))
    (result,) = trainer.steps(loader)
    assert result.state.name == "ABORTED"
    assert differences(before, mixer.state_dict()) == []


def test_the_events_of_a_run_without_extensions_are_none():
    events = EventList()
    trainer = make_trainer(TinyModel(), events=events)
    list(trainer.steps(ListLoader(make_batches(5))))
    assert events.kinds() == []
