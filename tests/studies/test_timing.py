"""About how long a study takes: each arm is measured once, and its runs share the cores."""

import pytest
import torch

from mambrane import LanguageModel, ModelConfig
from mambrane.core.events import EventLog
from mambrane.data.tokenizer import BytesTokenizer
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


def test_a_study_whose_runs_start_from_weights_has_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    config = ModelConfig(hidden_dim=16, num_layers=1, spiking_units=8, mamba_d_state=4)
    model = LanguageModel(config, 257, torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "weights", tokenizer=BytesTokenizer())
    (tmp_path / "text.txt").write_text("\n".join(f"a line of text, number {n}" for n in range(200)))
    settings = {
        "preset": "tiny",
        "data": [str(tmp_path / "text.txt")],
        "continual-learning": False,
        "sequence-length": 16,
        "batch-size": 2,
        "epochs": 1,
        "device": "cpu",
    }
    arms = {"anew": {"tokenizer": "bytes"}, "from weights": {"init-from": str(tmp_path / "weights")}}
    cells = small_study(arms=arms, baseline="anew", settings=settings, seeds=1).cells(tmp_path)
    assert timing.expected_seconds(cells, jobs=1, threads=1, events=EventLog()) > 2 * timing.START_S
