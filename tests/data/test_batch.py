"""Micro-batches."""

import torch

from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from tests.contract.meta_device import counted_transfers


def test_only_targets_that_count_are_counted():
    batch = MicroBatch(
        inputs_BT=torch.tensor([[256, 1, 2]]),
        targets_BT=torch.tensor([[1, 2, IGNORED_TARGET]]),
        resets_BT=torch.tensor([[True, False, False]]),
    )
    assert batch.num_targets == 2


def test_moving_to_a_device_keeps_all_three_tensors():
    batch = MicroBatch(
        torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3).bool()
    )
    moved = batch.to("cpu")
    assert all(torch.equal(before, after) for before, after in zip(batch, moved, strict=True))
    assert isinstance(moved, MicroBatch)


def test_all_three_tensors_travel_to_an_accelerator_in_one_copy():
    batch = MicroBatch(
        torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3).bool()
    )
    with counted_transfers() as transfers:
        moved = batch.to("meta")
        assert transfers.taken() == {("cpu to meta", "data/batch.py"): 1}
    assert [(part.shape, part.dtype) for part in moved] == [(part.shape, part.dtype) for part in batch]
    assert all(part.is_meta for part in moved)
