"""What a report shows of a run's model."""

import numpy as np
import pytest
import torch
from torch import nn

from mambrane.run.report_parts import importance_by_layer, model_parts
from mambrane.run.run import Run


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(2, 1, bias=False)
        self.blocks = nn.ModuleList([nn.Linear(2, 2, bias=False)])


def test_time_constants_window_and_importance_of_a_run(hybrid_run):
    parts = model_parts(Run.open(hybrid_run).saved)
    assert [name.split(",")[0] for name in parts["time_constants"]] == ["block 1", "block 1"]
    assert all((values > 0).all() for values in parts["time_constants"].values())
    assert parts["window"] is not None
    assert set(parts["importance"].by_layer) == {"embedding", "block 1", "norm"}
    assert all(0 <= share <= 1 for share in parts["importance"].by_layer.values())


def test_a_layer_counts_all_its_weights_also_those_that_nothing_leans_on():
    states = {"meta_plasticity": {"importance": {"blocks.0.weight": torch.tensor([[1.0, 0.1], [0.1, 5.0]])}}}
    found = importance_by_layer(Two(), states, kappa=1.0)
    assert found.by_layer == {"embedding": 0.0, "block 1": 0.5}
    states = {"regularizer": {"importance": {"embedding.weight": torch.tensor([[3.0, 1.0]])}}}
    assert importance_by_layer(Two(), states, kappa=1.0).by_layer == {"embedding": 2.0, "block 1": 0.0}


@pytest.mark.parametrize("states", [{}, {"regularizer": {"importance": {}}}, {"meta_plasticity": {"importance": {}}}])
def test_without_an_earlier_task_there_is_none(states):
    assert importance_by_layer(Two(), states, kappa=3.0) is None


def test_samples_know_how_the_text_goes_on(hybrid_run):
    run = Run.open(hybrid_run)
    for sample, domain in zip(run.samples(), run.domains, strict=True):
        tokens = domain.heldout.tokens.astype(np.int64).tolist()
        text = run.tokenizer.decode([token for token in tokens if token != domain.heldout.end_of_text])
        assert sample.truth
        assert (sample.prompt + sample.truth).encode() in text or sample.prompt.encode() in text
