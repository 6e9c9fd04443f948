"""Patience: when a task is at rest, and whose weights it ends with."""

import pytest
import torch

from mambrane.continual.measure import BITS_PER_BYTE
from mambrane.continual.patience import Patience
from tests.continual.beside_replay import TwoTasks, config_with
from tests.engine.tiny_training import make_trainer


def noted(patience, trainer, losses):
    """Note losses, and let the weights be the number of the epoch."""
    better = []
    for epoch, loss in enumerate(losses, 1):
        with torch.no_grad():
            for weight in trainer.model.parameters():
                weight.fill_(epoch)
        better.append(patience.note(loss, BITS_PER_BYTE, trainer)["is_best"])
    return better


@pytest.mark.parametrize(
    ("losses", "is_at_rest"),
    [([], False), ([3.0, 2.0], False), ([3.0, 4.0], False), ([3.0, 4.0, 3.0], True), ([3.0, 4.0, 2.0], False)],
)
def test_a_task_is_at_rest_when_no_epoch_of_the_last_was_better(losses, is_at_rest):
    patience = Patience(2)
    noted(patience, make_trainer(), losses)
    assert patience.is_at_rest is is_at_rest


def test_zero_is_off_and_never_at_rest():
    patience = Patience(0)
    noted(patience, make_trainer(), [1.0, 2.0, 3.0])
    assert not patience.is_on
    assert not patience.is_at_rest


def test_the_best_weights_are_put_back_where_others_came_after_them():
    patience, trainer = Patience(2), make_trainer()
    assert noted(patience, trainer, [3.0, 2.0, 2.5]) == [True, True, False]
    assert patience.put_back(trainer)
    assert all((weight == 2).all() for weight in trainer.model.parameters())
    patience.begin_task()
    noted(patience, trainer, [3.0])
    assert not patience.put_back(trainer)


def test_what_is_no_weight_stays_as_training_left_it(build_model):
    trainer = TwoTasks(build_model, config_with(), dropout=0.5).first_task().trainer
    patience = Patience(1)
    patience.note(1.0, BITS_PER_BYTE, trainer)
    counts = [buffer for buffer in trainer.model.buffers() if buffer.dtype == torch.int64]
    assert counts, "dropout counts its draws"
    for count in counts:
        count += 5
    expected = [count.clone() for count in counts]
    patience.note(2.0, BITS_PER_BYTE, trainer)
    assert patience.put_back(trainer)
    assert all(torch.equal(*pair) for pair in zip(counts, expected, strict=True))


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_jump_back_is_no_step_to_what_measures_the_way_of_the_weights(build_model, is_restarted):
    config = config_with(
        continual_learning=True,
        regularizer="si",
        regularizer_strength=0.1,
        replay_timing="updates",
        reptile_strength=0.5,
        reptile_interval=4,
    )
    run, without = (TwoTasks(build_model, config).second_task(2) for _ in range(2))
    patience = Patience(1)
    patience.note(1.0, BITS_PER_BYTE, run.trainer)
    best = run.weights()
    for each in (run, without):
        each.second_task(3, begins=False)
    patience.note(2.0, BITS_PER_BYTE, run.trainer)
    if is_restarted:
        saved, noted_until_now = run.saved(), patience.state_dict()
        run, patience = TwoTasks(build_model, config).load(saved), Patience(1)
        patience.load_state_dict(noted_until_now)
    assert patience.put_back(run.trainer)
    for each in (run, without):
        each.trainer.end_task(each.loaders[1], 0)
    regularizer, replay, reptile = (run.extensions.by_name()[name] for name in ("regularizer", "replay", "reptile"))
    steps_alone = without.extensions.by_name()["regularizer"]
    assert all(torch.equal(regularizer.importance[name], each) for name, each in steps_alone.importance.items())
    for beginning in (regularizer.anchor, regularizer.path.start, reptile.before):
        assert all(torch.equal(weight, best[name]) for name, weight in beginning.items())
    updates = replay.clock.count
    run.trainer.begin_task(1)
    next(run.trainer.steps(run.loaders[1]))
    assert replay.clock.count == updates


def test_it_survives_a_restart():
    patience, trainer = Patience(2), make_trainer()
    noted(patience, trainer, [2.0, 3.0])
    other = Patience(2)
    other.load_state_dict(patience.state_dict())
    other.note(4.0, BITS_PER_BYTE, trainer)
    assert other.is_at_rest
    assert other.put_back(trainer)
    assert all((weight == 1).all() for weight in trainer.model.parameters())


def test_what_is_said_names_the_best_epoch_and_the_value_in_its_unit():
    patience, trainer = Patience(1), make_trainer()
    assert patience.note(2.0, BITS_PER_BYTE, trainer)["message"] == "after epoch 1: held-out 2.000 bits/byte"
    assert patience.note(3.0, BITS_PER_BYTE, trainer)["message"].endswith("3.000 bits/byte, epoch 1 was better")
    assert patience.rest_event("prose")["message"] == "prose stops after epoch 2: epoch 1 was the best"
