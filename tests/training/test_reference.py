"""The reference text of a run is measured and never trained on."""

from dataclasses import replace

import pytest

from mambrane.core.events import EventLog
from mambrane.data.tokenizer import BytesTokenizer
from mambrane.settings.presets import tiny
from mambrane.training.reference import load_reference


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "reference.txt").write_text("".join(f"line {number} of it\n" for number in range(20_000)))
    config = tiny()
    return replace(config, data=replace(config.data, reference_text=(str(tmp_path / "reference.txt"),)))


def test_most_of_it_is_measured_up_to_the_bound(config):
    (domain,) = load_reference(config, BytesTokenizer(), EventLog())
    assert domain.name == "reference"
    assert 0.5 * config.data.max_heldout_bytes < domain.heldout_bytes <= config.data.max_heldout_bytes


def test_without_one_there_is_nothing_to_measure():
    assert load_reference(tiny(), BytesTokenizer(), EventLog()) == []
