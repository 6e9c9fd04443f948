"""About how long a study takes: each arm is measured once, and its runs share the cores."""

import pytest
import torch

from mambrane.core.events import EventLog
from mambrane.studies import timing
from tests.studies.small import small_study

SECONDS = {"naive": 10.0, "replay": 20.0, "joint": 60.0}


@pytest.mark.parametrize(("jobs", "expected"), [(1, 3 * (15.0 + 25.0 + 65.0)), (3, 15.0 + 25.0 + 65.0), (9, 65.0)])
def test_runs_share_the_cores_and_the_longest_takes_its_time(monkeypatch, tmp_path, jobs, expected):
    cells = small_study().cells(tmp_path)
    arms = {id(cell.config): cell.arm for cell in cells}
    measured, threads = [], []

    def seconds_of(config, events):
        measured.append(arms[id(config)])
        threads.append(torch.get_num_threads())
        return SECONDS[arms[id(config)]]

    monkeypatch.setattr(timing, "_seconds_of", seconds_of)
    before = torch.get_num_threads()
    assert timing.expected_seconds(cells, jobs=jobs, threads=2, events=EventLog()) == pytest.approx(expected)
    assert sorted(measured) == sorted(SECONDS)
    assert set(threads) == {2}
    assert torch.get_num_threads() == before
