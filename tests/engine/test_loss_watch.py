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


def alternating(count):
    """Losses whose mean is 2 and whose standard deviation is 0.1, when their number is even."""
    return [2.1 if number % 2 else 1.9 for number in range(count)]


@pytest.mark.parametrize(("loss", "is_spike"), [(2.0 + 0.59, False), (2.0 + 0.61, True)])
def test_a_spike_stands_six_standard_deviations_above_the_mean(loss, is_spike):
    watch = LossWatch()
    for ordinary in alternating(20):
        watch.is_spike(ordinary)
    assert (watch.mean, watch.variance) == pytest.approx((2.0, 0.01))
    assert watch.is_spike(loss) is is_spike


def test_the_first_twenty_are_not_judged_and_the_next_one_is():
    watch = LossWatch()
    for ordinary in alternating(19):
        watch.is_spike(ordinary)
    assert not watch.is_spike(100.0)
    watch = LossWatch()
    for ordinary in alternating(20):
        watch.is_spike(ordinary)
    assert watch.is_spike(100.0)


def test_a_later_loss_counts_for_a_twentieth():
    watch = LossWatch()
    for ordinary in alternating(40):
        watch.is_spike(ordinary)
    mean, variance = watch.mean, watch.variance
    watch.is_spike(mean + 0.4)
    assert watch.mean == pytest.approx(mean + 0.02)
    assert watch.variance == pytest.approx(0.95 * (variance + 0.05 * 0.16))


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
    list(trainer.steps(ListLoader(make_batches(45))))
    assert events.kinds() == ["loss_spike"]
    assert events.events[0]["step"] == 40
    assert trainer.counters.loss_spikes == 1
