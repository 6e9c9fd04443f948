"""What counts as asking a run for more, and nothing else."""

from dataclasses import replace

import pytest

from mambrane.settings.presets import tiny
from mambrane.training.extend import extends


def with_epochs(config, epochs):
    return replace(config, run=replace(config.run, epochs=epochs))


@pytest.mark.parametrize(
    ("epochs", "num_texts", "is_more"),
    [(30, (2, 2), False), (31, (2, 2), True), (30, (2, 3), True), (29, (2, 3), False), (31, (3, 2), False)],
)
def test_more_epochs_or_more_texts_and_less_of_neither(epochs, num_texts, is_more):
    assert extends(with_epochs(tiny(), 30), with_epochs(tiny(), epochs), num_texts) is is_more


def test_another_setting_is_another_run_and_an_operational_one_is_not():
    asked = with_epochs(tiny(), 60)
    assert extends(with_epochs(tiny(), 30), replace(asked, run=replace(asked.run, max_steps=5)), (2, 2))
    assert not extends(with_epochs(tiny(), 30), replace(asked, run=replace(asked.run, seed=1)), (2, 2))
