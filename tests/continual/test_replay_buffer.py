"""The replay buffer as a store: what is written is read, found again, and taken back."""

import math

import pytest
import torch

from mambrane.continual.replay_buffer import ReplayBuffer
from mambrane.data.batch import MicroBatch


def sequence(start):
    inputs_BT = torch.arange(start, start + 4)[None]
    return MicroBatch(inputs_BT, inputs_BT + 1, torch.tensor([[True, False, False, False]]))


@pytest.fixture
def buffer():
    found = ReplayBuffer(3, 4)
    found.write(0, sequence(10), task=0)
    found.write(1, sequence(20), task=1)
    return found


def test_sequences_come_back_as_they_were_in_the_order_asked_for(buffer):
    found = buffer.read(torch.tensor([1, 0]))
    assert found.inputs_BT.tolist() == [[20, 21, 22, 23], [10, 11, 12, 13]]
    assert found.targets_BT.tolist() == [[21, 22, 23, 24], [11, 12, 13, 14]]
    assert found.resets_BT.tolist() == [[True, False, False, False]] * 2
    assert buffer.indices_of(1).tolist() == [1]


def test_a_loss_goes_to_the_sequence_of_that_fingerprint_and_to_no_other(buffer):
    fingerprint = int(buffer.fingerprints_of(sequence(20))[0])
    buffer.record_losses({fingerprint: 2.5, 12345: 9.0})
    assert math.isnan(buffer.losses[0])
    assert buffer.losses[1] == 2.5
    buffer.write(1, sequence(30), task=1)
    assert math.isnan(buffer.losses[1])


def test_sequences_that_differ_in_one_token_have_other_fingerprints():
    buffer, one = ReplayBuffer(1, 4), sequence(10)
    other = MicroBatch(one.inputs_BT.clone(), one.targets_BT, one.resets_BT)
    other.inputs_BT[0, 2] += 1
    assert buffer.fingerprints_of(one) != buffer.fingerprints_of(other)


def test_undoing_takes_back_new_and_overwritten_sequences(buffer):
    before = {name: tensor.clone() for name, tensor in buffer.state_dict().items()}
    undo = buffer.undo_point()
    for start, index in ((30, 0), (40, 2), (50, 0)):
        buffer.write(index, sequence(start), task=2)
    assert buffer.size == 3
    undo()
    after = buffer.state_dict()
    assert all(torch.equal(before[name].nan_to_num(7), after[name].nan_to_num(7)) for name in before)


def test_a_gap_and_a_full_buffer_are_our_own_mistake(buffer):
    with pytest.raises(AssertionError):
        ReplayBuffer(3, 4).write(1, sequence(10), task=0)
    buffer.write(2, sequence(30), task=1)
    with pytest.raises(AssertionError):
        buffer.write(3, sequence(40), task=1)
