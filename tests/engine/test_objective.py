"""The main loss: a sum in nats over the targets that count."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.objective import fused_next_token_objective, nats_of, next_token_objective

TARGETS_BT = torch.tensor([[0, 1, IGNORED_TARGET], [1, 1, 0]])
BATCH = MicroBatch(torch.zeros(2, 3, dtype=torch.int64), TARGETS_BT, torch.zeros(2, 3, dtype=torch.bool))
LOGITS_BTV = torch.tensor([0.0, math.log(3.0)]).expand(2, 3, 2)
"""Token 1 has probability 3/4."""


class Scores(nn.Module):
    def forward(self, inputs_BT, *, resets_BT):
        return SimpleNamespace(logits_BTV=LOGITS_BTV)


class Nats(nn.Module):
    def forward(self, inputs_BT, *, resets_BT, targets_BT):
        assert targets_BT is TARGETS_BT
        return SimpleNamespace(nats_BT=torch.full((2, 3), 0.5), logits_BTV=None)


def test_the_sum_is_that_of_minus_log_probabilities_and_an_ignored_target_adds_nothing():
    loss_sum, output = next_token_objective(Scores(), BATCH)
    assert loss_sum.item() == pytest.approx(2 * math.log(4.0) + 3 * math.log(4.0 / 3.0))
    assert output.logits_BTV is LOGITS_BTV


def test_each_target_has_its_own_nats():
    nats_BT = nats_of(SimpleNamespace(logits_BTV=LOGITS_BTV), BATCH)
    rare, common = math.log(4.0), math.log(4.0 / 3.0)
    torch.testing.assert_close(nats_BT, torch.tensor([[rare, common, 0.0], [common, common, rare]]))


def test_a_model_that_computes_nats_itself_is_given_the_targets_and_believed():
    assert fused_next_token_objective(Nats(), BATCH).loss_sum.item() == 3.0
