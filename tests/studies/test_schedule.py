"""Runs side by side."""

from dataclasses import replace

from mambrane.studies.schedule import run_cells
from tests.studies.small import small_study


def test_no_run_is_started_once_a_stop_is_asked_for(tmp_path):
    cells = small_study().cells(tmp_path)
    started = []
    assert list(run_cells(cells, jobs=2, threads=1, should_stop=lambda: True, started=started.append)) == []
    assert started == []


def test_a_run_that_is_refused_ends_with_its_reason_and_the_next_one_starts(tmp_path):
    cells = [cell for cell in small_study(seeds=1).cells(tmp_path) if cell.arm != "joint"]
    nowhere = (str(tmp_path / "no-text"),)
    refused = [
        cell._replace(config=replace(cell.config, data=replace(cell.config.data, data=nowhere))) for cell in cells
    ]
    started = []
    ended = list(run_cells(refused, jobs=1, threads=1, should_stop=lambda: False, started=started.append))
    assert [one.exit_code for one in ended] == [2, 2]
    assert all("no-text" in one.message for one in ended)
    assert started == refused
