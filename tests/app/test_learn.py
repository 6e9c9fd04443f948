"""`mambrane learn`: what a task more cost what was known before."""

import shutil

import pytest

from mambrane.app.cli import main
from mambrane.app.learn import num_rows


@pytest.fixture
def own_run(run_folder, tmp_path):
    """A copy of the run that may be taught."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


def test_the_cost_of_the_new_task_is_printed_and_the_matrix_has_a_row_more(own_run, run_folder, capsys):
    assert num_rows(own_run) == 3
    assert (
        main(["learn", str(own_run), "--data", str(run_folder.parent / "texts" / "domain2.txt"), "--epochs", "1"]) == 0
    )
    assert num_rows(own_run) == 4
    printed = capsys.readouterr().out
    assert "domain2" in printed
    assert "domain0" in printed


def test_text_that_is_not_there_is_refused_and_nothing_is_learned(own_run, capsys):
    assert main(["learn", str(own_run), "--data", "no-such-text.txt"]) == 2
    assert "no-such-text.txt" in capsys.readouterr().err
    assert num_rows(own_run) == 3


def test_a_dry_run_prints_the_plan_and_learns_nothing(run_folder, capsys):
    words = ["learn", str(run_folder), "--data", str(run_folder.parent / "texts" / "domain2.txt")]
    assert main([*words, "--lr", "1e-3", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "learning rate" not in printed, "the flag wins, in its short form too"
    assert "which has 2 tasks" in printed
    assert "where no flag says otherwise, a later task has" in printed
    assert "task domain2: " in printed
    assert num_rows(run_folder) == 3
