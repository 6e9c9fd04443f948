"""The model card: what it says of the text, of what was learned, and what it cannot hide."""

from dataclasses import replace

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.models.config import ModelConfig
from mambrane.plasticity.config import PlasticityConfig
from mambrane.run.card import model_card
from mambrane.settings.presets import tiny
from tests.measured import Loss


def card(config=None, **changed):
    usual = {
        "name": "a model",
        "step": 1234,
        "weights": "averaged weights",
        "parameters": 5678,
        "domains": [{"name": "pro|se", "bytes_read": 1000, "content_hash": "0123456789abcdef0123"}],
        "matrix": None,
        "usage": "open it",
    }
    return model_card(config or tiny(), **usual | changed)


def test_it_names_its_size_its_steps_its_text_and_how_it_is_opened():
    text = card()
    for words in ("# a model", "5,678 parameters", "1,234 optimizer steps", "averaged weights", "open it", "## Limits"):
        assert words in text, words
    assert "| pro\\|se | 1,000 | `0123456789abcdef` |" in text


def test_what_is_lost_or_was_not_measured_is_said():
    assert "The run's record of its text is lost." in card(domains=[])
    assert "Nothing was measured." in card()
    assert "Nothing was measured." in card(matrix=ForgettingMatrix(["a"], 1))


def test_a_row_for_each_task_and_a_dash_where_nothing_was_measured():
    matrix = ForgettingMatrix(["a", "b"], 2)
    matrix.record(0, 0, Loss(8.0, 2.0))
    text = card(matrix=matrix)
    assert "| none | 8.000 | - |" in text
    assert "| 2 | - | - |" in text


def test_tags_follow_from_the_blocks():
    assert "- spiking-neural-network\n" in card()
    plain = replace(tiny(), model=ModelConfig(block_pattern="mamba2"), plasticity=PlasticityConfig())
    tags = card(config=plain).split("---")[1]
    assert "- mamba2\n" in tags
    assert "spiking" not in tags


def test_its_head_is_what_the_hub_reads():
    hub = pytest.importorskip("huggingface_hub", reason="needs requirements/parity.txt")
    config = tiny()
    begun = replace(config, run=replace(config.run, init_from="hf:state-spaces/mamba-130m-hf"))
    read = hub.ModelCard(card(config=begun)).data
    assert (read.library_name, read.pipeline_tag) == ("mambrane", "text-generation")
    assert read.base_model == "state-spaces/mamba-130m-hf"
    assert len(read.tags) == len(set(read.tags))
    assert hub.ModelCard(card()).data.base_model is None
    local = replace(config, run=replace(config.run, init_from="runs/first\nlicense: x"))
    assert hub.ModelCard(card(config=local)).data.to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
