"""Claims about the order in which text is learned."""

import pytest

from mambrane.continual.config import ContinualConfig
from mambrane.continual.stream import build_stream, split_epochs
from mambrane.core.errors import UserError
from mambrane.data.domains import Domain


def test_each_domain_is_a_task_in_order(domains: list[Domain]):
    stream = build_stream(domains, ContinualConfig(continual_learning=True, num_tasks=3), num_epochs=7)
    assert [task.name for task in stream.tasks] == ["rising", "falling", "jumping"]
    assert [task.train for task in stream.tasks] == [(domain.train,) for domain in domains]
    assert [task.num_epochs for task in stream.tasks] == [3, 2, 2]
    assert [task.index for task in stream.tasks] == [0, 1, 2]


def test_only_the_domains_of_the_tasks_are_measured(domains: list[Domain]):
    stream = build_stream(domains, ContinualConfig(continual_learning=True, num_tasks=2), num_epochs=2)
    assert [domain.name for domain in stream.domains] == ["rising", "falling"]


def test_without_continual_learning_all_domains_are_one_task(domains: list[Domain]):
    stream = build_stream(domains, ContinualConfig(), num_epochs=7)
    (task,) = stream.tasks
    assert (task.name, task.num_epochs) == ("joint", 7)
    assert task.train == tuple(domain.train for domain in domains)
    assert stream.domains == tuple(domains)


def test_fewer_domains_than_tasks_are_refused_with_the_way_out(domains: list[Domain]):
    with pytest.raises(UserError, match="--num-tasks 3"):
        build_stream(domains, ContinualConfig(continual_learning=True, num_tasks=4), num_epochs=8)


def test_fewer_epochs_than_tasks_are_refused_with_the_way_out():
    with pytest.raises(UserError, match="--epochs 5"):
        split_epochs(4, 5)


@pytest.mark.parametrize(("epochs", "tasks"), [(5, 5), (30, 5), (7, 3), (9, 4)])
def test_no_epoch_is_lost_and_the_first_tasks_get_the_remainder(epochs: int, tasks: int):
    shares = split_epochs(epochs, tasks)
    assert sum(shares) == epochs
    assert list(shares) == sorted(shares, reverse=True)
    assert max(shares) - min(shares) <= 1
