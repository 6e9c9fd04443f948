"""Threads of a study's runs: a part of the cores, what was asked for, or what the study began with."""

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.studies import threads
from mambrane.studies.threads import keep_threads, threads_of_runs


@pytest.fixture
def heard():
    return []


@pytest.fixture
def of_runs(tmp_path, heard):
    events = EventLog()
    events.listeners.append(heard.append)
    return lambda jobs=0, num_cells=8: threads_of_runs(tmp_path, jobs=jobs, num_cells=num_cells, events=events)


@pytest.fixture(autouse=True)
def eight_cores_and_no_wish(monkeypatch):
    monkeypatch.setattr(threads, "num_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("jobs", "num_cells", "expected"), [(0, 8, 1), (0, 2, 4), (3, 8, 2), (1, 8, 8), (16, 20, 1)])
def test_cores_are_shared_among_the_runs_side_by_side(of_runs, jobs, num_cells, expected):
    assert of_runs(jobs, num_cells) == expected


@pytest.mark.parametrize("text", ["3", "3,1", " 3 "])
def test_as_many_as_the_variable_of_openmp_says(of_runs, monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert of_runs(jobs=1) == 3


def test_a_study_keeps_the_threads_that_it_began_with(of_runs, tmp_path, heard):
    keep_threads(tmp_path, 7)
    assert of_runs(jobs=1) == 7
    assert heard == []


def test_a_wish_that_comes_too_late_is_told(of_runs, tmp_path, heard, monkeypatch):
    keep_threads(tmp_path, 7)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert of_runs(jobs=1) == 7
    assert "have 7 threads" in heard[0]["message"]
    assert "OMP_NUM_THREADS=3 needs another folder" in heard[0]["message"]


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5", ","])
def test_what_is_no_number_of_threads_is_refused(of_runs, monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    with pytest.raises(UserError, match="unset OMP_NUM_THREADS"):
        of_runs()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"threads": 0}', '{"threads": true}', "\xff"])
def test_a_damaged_note_of_the_threads_is_refused_by_its_name(of_runs, tmp_path, content):
    (tmp_path / "study.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"study\.json is damaged") as error:
        of_runs()
    assert "OMP_NUM_THREADS" in error.value.way_out
