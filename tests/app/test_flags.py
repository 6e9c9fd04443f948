"""Flags: short forms, and what a flag that does not exist is answered with."""

import pytest

from mambrane.app.cli import main
from mambrane.app.flags import given_settings


def test_the_short_form_counts_as_given():
    assert "learning_rate" in given_settings(["--lr", "3e-3"])
    assert "use_replay" in given_settings(["--no-use-replay"])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("train --learning-rat 3", "did you mean --learning-rate"),
        ("train --no-use-replays", "did you mean --no-use-replay"),
        ("generate runs/x --temp 3", "did you mean --temperature"),
        ("train --epochs x", "a whole number"),
        ("train --stdp-type tripplet", "--stdp-type triplet"),
        ("train --use-mamba true", "no value: --use-mamba, or --no-use-mamba"),
        ("train --no-use-mamba true", "no value: --use-mamba, or --no-use-mamba"),
        ("train --use-replay=false", "error --use-replay false wanted: no value: --use-replay, or --no-use-replay"),
        ("train --use-replay=", "no value: --use-replay, or --no-use-replay"),
        ("train --extension", "--extension without a value"),
        ("train --extension --dry-run", "--extension without a value"),
        ("evaluate runs/x --data", "--data without a value"),
        ("learn runs/x --data --epochs 2", "--data without a value"),
        ("generate runs/x --stop --json", "--stop without a value"),
        ("train texts/", "--data texts/"),
        ("evaluate", "evaluate without a run"),
    ],
)
def test_a_word_that_is_not_understood_is_answered_with_the_nearest_one(words, answer, capsys):
    assert main(words.split()) == 2
    assert answer in " ".join(capsys.readouterr().err.split())
