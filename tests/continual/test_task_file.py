"""tasks.json: what a run has learned, and what it took back."""

import json
import os

import pytest

from mambrane.continual.task_file import read_tasks, write_tasks
from mambrane.core.errors import UserError

TASK = {"name": "prose", "num_epochs": 3, "forgetting": None, "gain": 0.5}
ATTEMPT = {**TASK, "reason": "it forgot too much", "before": {"prose": 1.0}, "after": {"prose": None}}


def test_it_comes_back_as_it_was_written(tmp_path):
    write_tasks(tmp_path / "tasks.json", [TASK, TASK], [ATTEMPT])
    assert read_tasks(tmp_path / "tasks.json") == ([TASK, TASK], [ATTEMPT])


def test_a_run_of_a_version_that_wrote_none_has_none(tmp_path):
    assert read_tasks(tmp_path / "tasks.json") == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"tasks": []},
        {"tasks": [{"name": 3, "num_epochs": 1}], "attempts": []},
        {"tasks": [{**TASK, "gain": "much"}], "attempts": []},
        {"tasks": [], "attempts": [{**ATTEMPT, "reason": None}]},
        {"tasks": [], "attempts": [{**ATTEMPT, "after": {"prose": "worse"}}]},
    ],
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "tasks.json").write_text(text)
    with pytest.raises(UserError, match=r"tasks\.json is damaged"):
        read_tasks(tmp_path / "tasks.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in its file system")
def test_a_pipe_in_its_place_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "tasks.json")
    with pytest.raises(UserError, match=r"tasks\.json is damaged"):
        read_tasks(tmp_path / "tasks.json")
