"""Which place of a replay buffer a sequence takes."""

import pytest
import torch

from mambrane.continual.replay_buffer import ReplayBuffer
from mambrane.continual.reservoir import fitting, index_in_share, index_in_whole, index_of_largest_task
from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch

ROW = torch.zeros(1, 4, dtype=torch.long)
SEQUENCE = MicroBatch(ROW, ROW, ROW == 1)


def holding(tasks, capacity):
    """Return a buffer that holds sequences of these tasks."""
    buffer = ReplayBuffer(capacity, 4)
    for index, task in enumerate(tasks):
        buffer.write(index, SEQUENCE, task)
    return buffer


@pytest.fixture
def generator():
    return make_generator(0, "reservoir")


def test_a_free_place_is_taken_first(generator):
    assert index_in_whole(holding([0, 0], 3), 100, generator) == 2
    assert index_in_share(holding([0, 0], 3), 0, 100, generator) == 2


def test_of_n_sequences_seen_each_is_kept_as_often(generator):
    """The hundredth enters ten places in one case of ten, each place alike."""
    buffer = holding([0] * 10, 10)
    found = [index_in_whole(buffer, 100, generator) for _ in range(5000)]
    entered = [index for index in found if index is not None]
    assert 0.08 < len(entered) / len(found) < 0.12
    assert set(entered) == set(range(10))


def test_a_new_task_takes_from_the_largest_until_it_has_its_share(generator):
    buffer = holding([0] * 6 + [1] * 2, 8)
    assert index_in_share(buffer, 1, 3, generator) in range(6)
    full = holding([0] * 4 + [1] * 4, 8)
    found = {index_in_share(full, 1, 8, generator) for _ in range(200)}
    assert found == {None, 4, 5, 6, 7}


def test_the_largest_task_gives_up_its_sequences(generator):
    assert {index_of_largest_task(holding([0, 1, 1, 1, 2], 5), generator) for _ in range(100)} == {1, 2, 3}
    saved = holding([0, 1, 1, 1, 2], 5).state_dict()
    assert fitting(saved, 3, generator)["tasks"].tolist() == [0, 1, 2]
    assert fitting(saved, 5, generator)["tasks"].tolist() == [0, 1, 1, 1, 2]
    assert len(fitting(saved, 0, generator)["tasks"]) == 0
