"""Loss spikes are seen, counted and told."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mambrane.core.seeding import make_generator
from mambrane.engine.loss_watch import FIRST_JUDGED, LossWatch
from mambrane.engine.objective import Objective
from tests.engine.tiny_training import EventList, ListLoader, make_batches, make_trainer, poisoned_objective


def noisy_losses(count):
    return (2.0 + 0.05 * torch.randn(count, generator=make_generator(0, "losses"))).tolist()


def test_ordinary_noise_is_no_spike_and_a_jump_is_one():
    watch = LossWatch()
    assert not any(watch.is_spike(loss) for loss in noisy_losses(500))
    assert watch.is_spike(2.6)
    assert watch.mean == pytest.approx(2.03, abs=0.03)


@given(st.lists(st.floats(0, 100), max_size=FIRST_JUDGED))
def test_nothing_is_judged_before_the_usual_is_known(losses):
    watch = LossWatch()
    assert not any(watch.is_spike(loss) for loss in losses)


def test_a_falling_loss_is_never_a_spike():
    watch = LossWatch()
    assert not any(watch.is_spike(5.0 * 0.99**step) for step in range(400))


def test_a_lasting_rise_becomes_usual():
    watch = LossWatch()
    for loss in noisy_losses(100):
        watch.is_spike(loss)
    spikes = [watch.is_spike(loss + 3) for loss in noisy_losses(200)]
    assert spikes[0]
    assert not any(spikes[20:])


def test_a_new_task_and_a_resume():
    watch, again = LossWatch(), LossWatch()
    for loss in noisy_losses(50):
        watch.is_spike(loss)
    again.load_state_dict(watch.state_dict())
    assert again.state_dict() == watch.state_dict()
    assert again.is_spike(4.0)
    watch.begin_task()
    assert watch.state_dict() == LossWatch().state_dict()
    assert not watch.is_spike(9.0)


def test_a_spike_in_training_is_counted_and_told():
    calls = []

    def objective(model, batch):
        calls.append(1)
        loss_sum, output = poisoned_objective(model, batch)
        return Objective(loss_sum * (50.0 if len(calls) == 40 else 1.0), output)

    events = EventList()
    trainer = make_trainer(objective=objective, accumulation_steps=1, events=events, learning_rate=1e-4)
    list(trainer.windows(ListLoader(make_batches(45))))
    assert events.kinds() == ["loss_spike"]
    assert events.events[0]["step"] == 40
    assert trainer.counters.loss_spikes == 1
