"""The losses of sequences between two applied steps."""

import torch

from mambrane.continual.seen_losses import SeenLosses
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.models.state import ModelOutput


def look(seen, fingerprints, nats, ignored=0):
    nats_BT = torch.tensor(nats)
    targets_BT = torch.zeros_like(nats_BT, dtype=torch.long)
    targets_BT[:, targets_BT.shape[1] - ignored :] = IGNORED_TARGET
    output = ModelOutput(None, None, (), nats_BT)
    seen.look(torch.tensor(fingerprints), output, MicroBatch(targets_BT, targets_BT, targets_BT == 1))


def test_only_the_sequences_of_the_applied_step_count_with_the_loss_that_was_seen_last():
    seen = SeenLosses()
    look(seen, [1, 2], [[1.0, 3.0], [4.0, 4.0]])
    look(seen, [2, 3], [[6.0, 6.0], [9.0, 9.0]])
    assert seen.take([torch.tensor([1, 2])]) == {1: 2.0, 2: 6.0}
    assert seen.take([torch.tensor([3])]) == {}


def test_a_loss_that_is_not_finite_is_left_out_and_targets_that_do_not_count_are_not_divided_by():
    seen = SeenLosses()
    look(seen, [1, 2], [[1.0, 0.0], [float("inf"), 0.0]], ignored=1)
    assert seen.take([torch.tensor([1, 2])]) == {1: 1.0}


def test_a_copy_goes_its_own_way():
    seen = SeenLosses()
    look(seen, [1], [[1.0]])
    copy = seen.copy()
    assert seen.take([torch.tensor([1])]) == {1: 1.0}
    assert copy.take([torch.tensor([1])]) == {1: 1.0}
