"""Names of earlier versions: settings, events and saved state are found under their present names."""

import copy
import json

from mambrane.core.events import read_events
from mambrane.core.renamed import (
    EVENTS,
    SETTINGS,
    earlier_setting,
    with_present_settings,
    with_present_state_names,
)
from mambrane.settings.config import RunConfig, from_dict, to_dict
from mambrane.watch.event_messages import NOTES, WARNINGS, WITHOUT_MESSAGE
from mambrane.watch.history import ROUTINE_KINDS, read_history
from mambrane.watch.progress import RunProgress

OLD_LOG = [
    {"event": "run_started", "num_tasks": 3, "total_windows": 5},
    {"event": "task_started", "task": 0, "name": "a", "epochs": 1,
     "windows": 5, "windows_before": 0, "windows_done": 1},
    {"event": "window", "state": "COMMITTED", "step": 1, "loss": 2.0, "tokens": 8, "tokens_per_s": 4.0,
     "penalties": {"consolidation": 0.5}, "numbers": {"replay/windows_remembered": 3.0}},
    {"event": "window", "state": "SKIPPED", "step": 1, "loss": None, "tokens": 8, "tokens_per_s": 4.0},
    {"event": "epoch_without_windows", "carried": 1},
    {"event": "window_skipped", "window": 2, "reason": "the gradient of x is not finite"},
]  # fmt: skip


def test_an_old_log_is_read_as_if_it_were_written_today(tmp_path):
    log = tmp_path / "events.jsonl"
    log.write_text("".join(json.dumps({"time_s": 1.0, **event}) + "\n" for event in OLD_LOG))
    events = list(read_events(log))
    kinds = ["run_started", "task_started", "step", "step", "epoch_without_steps", "step_skipped"]
    assert [event["event"] for event in events] == kinds
    history, progress = read_history(events), RunProgress()
    for event in events:
        progress(event)
    assert list(history.steps) == [1]
    assert history.series("penalties/regularizer").values.tolist() == [0.5]
    assert history.series("replay/sequences_remembered").values.tolist() == [3.0]
    assert history.skipped_steps == [1]
    assert (progress.num_steps, progress.steps_closed, progress.steps_left) == (5, 3, 2)
    assert WARNINGS[events[-1]["event"]](events[-1]) == "step 2 skipped: the gradient of x is not finite"


def test_every_present_name_of_an_event_is_one_that_readers_know():
    assert set(EVENTS.values()) <= {*ROUTINE_KINDS, *WARNINGS, *NOTES, *WITHOUT_MESSAGE}


def test_old_settings_are_settings_of_today():
    old = {"run": {"max_windows": 7}, "continual": {"consolidation_method": "si", "consolidation_decay": 0.5}}
    config = from_dict(with_present_settings(old), source="old")
    assert config.run.max_steps == 7
    assert (config.continual.regularizer, config.continual.regularizer_decay) == ("si", 0.5)


def test_every_renamed_setting_exists_and_its_earlier_name_does_not():
    names = {f"{section}.{name}" for section, values in to_dict(RunConfig()).items() for name in values}
    assert set(SETTINGS.values()) <= names
    assert not set(SETTINGS) & names
    assert [earlier_setting(present) for present in SETTINGS.values()] == list(SETTINGS)


def test_present_names_and_other_content_stay_as_they_are():
    tree = {"trainer": {"counters": {"closed": 3}, "schedule": None}, "runner": {"steps_closed": 2}, "extensions": 5}
    assert with_present_state_names(copy.deepcopy(tree)) == tree
    assert with_present_settings({"run": "damaged", "other": {"max_windows": 1}}) == {
        "run": "damaged",
        "other": {"max_windows": 1},
    }


def test_old_state_is_found_under_its_present_name_and_the_old_tree_is_not_changed():
    old = {
        "trainer": {"counters": {"windows": 9, "applied": 8}, "schedule": {"total_windows": 12}, "average_updates": 8},
        "extensions": {"consolidation": {"anchor": 1}, "replay": {"memory": {"tasks": 2}, "num_offered": [3]}},
        "runner": {"windows_closed": 4, "phase": "train"},
    }
    before = copy.deepcopy(old)
    assert with_present_state_names(old) == {
        "trainer": {"counters": {"closed": 9, "applied": 8}, "schedule": {"total_steps": 12}, "ema_updates": 8},
        "extensions": {"regularizer": {"anchor": 1}, "replay": {"buffer": {"tasks": 2}, "num_seen": [3]}},
        "runner": {"steps_closed": 4, "phase": "train"},
    }
    assert old == before
