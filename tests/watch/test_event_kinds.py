"""Every event that the package emits and every file of a run is explained, and nothing else."""

import json

import pytest

from mambrane.storage.run_folder import RunFolder
from mambrane.watch.event_kinds import FILES, KINDS, meaning_of
from scripts import events_page


def test_every_kind_that_is_emitted_is_explained_and_no_other():
    explained = [kind for kinds in KINDS.values() for kind in kinds]
    assert sorted(explained) == sorted(events_page.fields_by_kind())


def test_a_kind_has_its_meaning_and_what_is_none_has_none():
    assert "the whole configuration" in meaning_of("run_started")
    assert meaning_of("no such kind") is None


def test_every_file_of_a_finished_run_is_explained(run_folder):
    assert {path.name for path in run_folder.iterdir()} <= FILES.keys()


def test_every_place_that_a_run_folder_knows_is_explained(tmp_path):
    places = [path for path in vars(RunFolder(tmp_path)).values() if path != tmp_path]
    assert {path.name for path in places} <= FILES.keys()


@pytest.mark.parametrize("kind", ["step", "evaluation", "task_started", "warning", "stopped"])
def test_the_fields_of_an_event_on_the_page_are_those_in_the_log_of_a_run(run_folder, kind):
    known = events_page.fields_by_kind()[kind]
    for line in (run_folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == kind:
            assert set(known) <= event.keys(), kind
