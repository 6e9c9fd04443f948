"""What a lesson would do, said before anything is learned."""

import pytest

from mambrane.core.errors import UserError
from mambrane.planning.lesson_plan import plan_lesson
from mambrane.settings.later_task import LATER_TASK


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_new_texts_are_tasks_with_the_recipe_known_ones_are_named_and_nothing_is_changed(run_folder):
    texts, before = run_folder.parent / "texts", content_of(run_folder)
    plan = plan_lesson(run_folder, [str(texts / "domain1.txt"), str(texts / "domain2.txt")])
    (task,) = plan.tasks
    assert (task.name, task.epochs, plan.num_before) == ("domain2", LATER_TASK.epochs_factor, 2)
    assert task.steps > 0
    assert plan.seconds > 0
    known, recipe = plan.sentences
    assert known == "the text of domain1 is learned already, as domain1 (1 epochs)"
    assert recipe.startswith(f"where no flag says otherwise, a later task has {LATER_TASK.epochs_factor} epochs")
    assert content_of(run_folder) == before


def test_settings_that_are_given_hold_and_what_cannot_change_is_refused(run_folder):
    text = [str(run_folder.parent / "texts" / "domain2.txt")]
    assert plan_lesson(run_folder, text, epochs=5).tasks[0].epochs == 5
    with pytest.raises(UserError, match="cannot be another in a later task"):
        plan_lesson(run_folder, text, hidden_dim=999)


def test_what_the_lesson_would_warn_of_is_said(run_folder, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.txt").write_text("a line of text that is new to the run\n" * 40)
    (tmp_path / "new" / "b.png").write_bytes(b"no text")
    assert any("b.png passed over" in sentence for sentence in plan_lesson(run_folder, [str(tmp_path)]).sentences)


def test_where_all_is_learned_there_is_no_task(run_folder):
    plan = plan_lesson(run_folder, [str(run_folder.parent / "texts" / "domain0.txt")])
    assert (plan.tasks, plan.seconds) == ((), 0.0)
