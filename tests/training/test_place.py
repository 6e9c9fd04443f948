"""Where a run stands, and with what its next task is learned."""

from mambrane.core.events import EventLog
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.place import config_of, read_place


def test_a_finished_run_has_learned_every_task_and_knows_its_text(run_folder):
    run = Run.open(run_folder)
    place = read_place(RunFolder(run_folder), run.config, EventLog())
    assert place.is_done
    assert [task["name"] for task in place.tasks] == ["domain0", "domain1"]
    assert place.tasks_left == []
    assert list(place.text) == ["domain0", "domain1"]
    assert place.hashes_of(place.tasks[1]) == [place.text["domain1"]]


def test_before_the_first_checkpoint_there_is_no_place_and_the_run_is_what_it_began_as(run_folder, tmp_path):
    began = Run.open(run_folder).config
    place = read_place(RunFolder(tmp_path / "new"), began, EventLog())
    assert place is None
    assert config_of(place, began) is began


def test_a_finished_run_has_the_settings_of_its_last_task_and_so_the_methods_of_its_checkpoint(run_folder):
    began = Run.open(run_folder).config
    place = read_place(RunFolder(run_folder), began, EventLog())
    assert config_of(place, began) == began
    own = {"engine.learning_rate": 0.5, "continual.continual_learning": True}
    tasks = [place.tasks[0], {**place.tasks[1], "settings": own}]
    later = config_of(place._replace(state={**place.state, "tasks": tasks}), began)
    assert later.engine.learning_rate == 0.5
