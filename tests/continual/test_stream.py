"""Claims about the order in which text is learned."""

from dataclasses import replace

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.stream import build_stream, split_epochs, steps_of_task
from mambrane.core.errors import UserError
from mambrane.data.config import DataConfig
from mambrane.data.domains import Domain
from mambrane.engine.config import EngineConfig
from mambrane.tasks import llm
from tests.continual.conftest import token_file


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


def stream_of(domains, curriculum, num_epochs=6):
    config = ContinualConfig(continual_learning=True, num_tasks=3, curriculum=curriculum)
    return build_stream(domains, config, num_epochs)


def tokens_of(stream, epoch_tokens=0):
    kind = llm.Kind(DataConfig(sequence_length=20, epoch_tokens=epoch_tokens), seed=0, device=torch.device("cpu"))
    return sum(kind.make_loader(task).num_tokens * task.num_epochs for task in stream.tasks)


def test_joint_learns_all_domains_of_the_tasks_at_once(domains: list[Domain]):
    (task,) = stream_of(domains, "joint").tasks
    assert (task.name, task.train, task.num_epochs) == ("joint", tuple(domain.train for domain in domains), 6)


def test_cumulative_learns_each_domain_with_all_before_it(domains: list[Domain]):
    tasks = stream_of(domains, "cumulative").tasks
    assert [task.train for task in tasks] == [tuple(d.train for d in domains[: n + 1]) for n in range(3)]


def test_single_task_starts_over_with_each_domain(domains: list[Domain]):
    tasks = stream_of(domains, "single-task").tasks
    assert all(task.starts_over and task.train == (d.train,) for task, d in zip(tasks, domains, strict=True))


@pytest.mark.parametrize("epoch_tokens", [0, 200])
def test_every_curriculum_sees_as_many_tokens(domains: list[Domain], epoch_tokens: int):
    short = replace(domains[1], train=token_file("short", 260, (9, 8, 7)))
    uneven = [domains[0], short, domains[2]]
    curricula = ("sequential", "joint", "cumulative", "single-task")
    tokens = {curriculum: tokens_of(stream_of(uneven, curriculum), epoch_tokens) for curriculum in curricula}
    assert len(set(tokens.values())) == 1, tokens


@pytest.mark.parametrize("curriculum", ["joint", "single-task"])
def test_what_keeps_earlier_tasks_is_refused_where_there_are_none(curriculum: str):
    with pytest.raises(UserError, match=f"--use-replay with --curriculum {curriculum}"):
        ContinualConfig(continual_learning=True, use_replay=True, curriculum=curriculum)


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


def test_steps_of_a_task_follow_the_tail_policy():
    expected = {"step": 3 * 6, "drop": 3 * 5, "carry": 3 * 11 // 2}
    for tail, number in expected.items():
        assert steps_of_task(11, 3, EngineConfig(accumulation_steps=2, tail_policy=tail)) == number
