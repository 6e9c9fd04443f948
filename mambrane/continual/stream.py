"""The stream: which text is learned when. A task is a text domain; without tasks, all domains are learned at once.

A stream stays open: tasks may be added behind those that are learned, on new text or on text that it knows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mambrane.continual.config import ContinualConfig
from mambrane.continual.matrix import JOINT_NAME, ForgettingMatrix
from mambrane.continual.measure import Measure
from mambrane.core.errors import UserError
from mambrane.data.domains import Domain
from mambrane.data.tokens import TokenFile
from mambrane.engine.config import EngineConfig
from mambrane.engine.transaction import TailPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is learned between two boundaries."""

    index: int
    """Place in the stream, from 0."""
    name: str
    """Name of its domain, or JOINT_NAME."""
    train: tuple[TokenFile, ...]
    """Text to learn from; sequences of all files are shuffled together."""
    num_epochs: int
    """Epochs on that text; the loader says how long one is."""
    columns: tuple[int, ...] = ()
    """The domains that it learns, by their place in the stream."""
    read_columns: tuple[int, ...] = ()
    """The domains whose text it reads; left out: those that it learns."""
    paced_by: tuple[TokenFile, ...] = ()
    """Text whose mean length an epoch has; left out: that of `train`."""
    starts_over: bool = False
    """Whether it is learned by a model of its own, from the initial weights."""
    visit: int = 0
    """Earlier tasks on the same text."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its own, by dotted name; all others are those that the run began with."""

    @property
    def order_name(self) -> str:
        """What the order of its sequences follows from, beside the seed: a later visit reads in another order."""
        return self.name if self.visit == 0 else f"{self.name}/{self.visit}"

    @property
    def record(self) -> dict[str, Any]:
        """What a checkpoint says of it; the text is known by its domains."""
        return {
            "name": self.name,
            "columns": list(self.columns),
            "read_columns": list(self.read_columns or self.columns),
            "starts_over": self.starts_over,
            "num_epochs": self.num_epochs,
            "visit": self.visit,
            "settings": dict(self.settings),
        }

    def epoch_tokens(self, most: int) -> int:
        """Return the budget of tokens of an epoch, 0 for the whole text, where a domain has `most` at most (0: all).

        An epoch of several domains is as long as one of a domain is on average, or as the task says: so training on all
        domains at once sees as many tokens as learning them one after another in as many epochs.
        """
        if len(self.train) == 1:
            return most
        paced_by = self.paced_by or self.train
        return math.ceil(sum(min(file.num_tokens, most or math.inf) for file in paced_by) / len(paced_by))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """The tasks in order, and the domains that every evaluation measures."""

    tasks: tuple[Task, ...]
    domains: tuple[Domain, ...]

    def extended(self, tasks: Sequence[Task], domains: Sequence[Domain]) -> "Stream":
        """Return the stream with more tasks, and the domains that are new with them."""
        return Stream(tasks=(*self.tasks, *tasks), domains=(*self.domains, *domains))

    def without(self, index: int) -> "Stream":
        """Return the stream without a task, and without the domains that no other task learns."""
        others = {column for task in self.tasks if task.index != index for column in task.columns}
        own = self.tasks[index].columns
        kept = [column for column in range(len(self.domains)) if column in others or column not in own]
        place = {column: number for number, column in enumerate(kept)}
        tasks = (
            replace(
                task,
                index=number,
                columns=tuple(place[column] for column in task.columns),
                read_columns=tuple(place[column] for column in task.read_columns if column in place),
            )
            for number, task in enumerate(task for task in self.tasks if task.index != index)
        )
        return Stream(tasks=tuple(tasks), domains=tuple(self.domains[column] for column in kept))


def empty_matrix(stream: Stream, measure: Measure) -> ForgettingMatrix:
    """Return the forgetting matrix of a stream of which nothing is measured."""
    names, columns = [domain.name for domain in stream.domains], [task.columns for task in stream.tasks]
    matrix = ForgettingMatrix(names, len(stream.tasks), measure, task_columns=columns)
    matrix.is_of_one_model = not any(task.starts_over for task in stream.tasks)
    return matrix


def distinct_tokens(stream: Stream, most: int) -> int:
    """Return how many different tokens the tasks train on, those that repeat a text counted once.

    Args:
        stream: the tasks; text that a task reads beside that of its own domains is counted with theirs.
        most: tokens of an epoch, as `Task.epoch_tokens` takes it; epochs go on where the last one ended.
    """
    read = dict.fromkeys(range(len(stream.domains)), 0)
    for task in stream.tasks:
        for column in task.columns:
            in_a_pass = stream.domains[column].num_train_tokens
            read[column] = min(in_a_pass, read[column] + task.num_epochs * (most or in_a_pass))
    return sum(read.values())


def stream_of_records(records: Sequence[Mapping[str, Any]], domains: Sequence[Domain]) -> Stream:
    """Return the stream that `Task.record` of each task described, over these domains."""
    tasks = (
        Task(
            index=index,
            name=record["name"],
            train=tuple(domains[column].train for column in record["read_columns"]),
            num_epochs=record["num_epochs"],
            columns=tuple(record["columns"]),
            read_columns=tuple(record["read_columns"]),
            paced_by=tuple(domains[column].train for column in record["columns"]),
            starts_over=record["starts_over"],
            visit=record["visit"],
            settings=record["settings"],
        )
        for index, record in enumerate(records)
    )
    return Stream(tasks=tuple(tasks), domains=tuple(domains))


def build_stream(domains: Sequence[Domain], config: ContinualConfig, num_epochs: int) -> Stream:
    """Return one task a domain, for the first `num_tasks` domains; without continual learning one task over all.

    Every curriculum sees as many tokens: an epoch of several domains is as long as one of a domain is on average, and a
    task that repeats earlier domains (cumulative) is as long as its own domain alone.

    Raises:
        UserError: fewer domains than tasks, or fewer epochs.
    """
    if not config.continual_learning:
        everything = tuple(domain.train for domain in domains)
        columns = tuple(range(len(domains)))
        joint = Task(index=0, name=JOINT_NAME, train=everything, num_epochs=num_epochs, columns=columns)
        return Stream(tasks=(joint,), domains=tuple(domains))
    if len(domains) < config.num_tasks:
        raise UserError(
            f"--num-tasks {config.num_tasks} with {len(domains)} text domains",
            wanted="a domain for each task",
            way_out=f"--num-tasks {len(domains)}, or more --data",
        )
    learned = tuple(domains[: config.num_tasks])
    epochs = split_epochs(num_epochs, config.num_tasks)
    text = tuple(domain.train for domain in learned)
    if config.curriculum == "joint":
        columns = tuple(range(len(learned)))
        joint = Task(index=0, name=JOINT_NAME, train=text, num_epochs=num_epochs, columns=columns)
        return Stream(tasks=(joint,), domains=learned)
    tasks = (
        Task(
            index=index,
            name=domain.name,
            train=text[: index + 1] if config.curriculum == "cumulative" else (domain.train,),
            num_epochs=epochs[index],
            columns=(index,),
            read_columns=tuple(range(index + 1)) if config.curriculum == "cumulative" else (),
            paced_by=(domain.train,),
            starts_over=config.curriculum == "single-task",
        )
        for index, domain in enumerate(learned)
    )
    return Stream(tasks=tuple(tasks), domains=learned)


def split_epochs(num_epochs: int, num_tasks: int) -> tuple[int, ...]:
    """Return the epochs of each task: equal shares, the remainder to the first tasks.

    Raises:
        UserError: a task would have none.
    """
    if num_epochs < num_tasks:
        raise UserError(
            f"--epochs {num_epochs} for {num_tasks} tasks",
            wanted="at least one epoch for each task",
            way_out=f"--epochs {num_tasks}, fewer --num-tasks, or fewer files: each file or sub-folder is a task",
        )
    share, remainder = divmod(num_epochs, num_tasks)
    return tuple(share + (index < remainder) for index in range(num_tasks))


def steps_of_task(num_batches: int, num_epochs: int, config: EngineConfig) -> int:
    """Return how many steps a task has, by what becomes of the tail of an epoch."""
    size = config.accumulation_steps
    return {
        TailPolicy.STEP: num_epochs * -(-num_batches // size),
        TailPolicy.DROP: num_epochs * (num_batches // size),
        TailPolicy.CARRY: num_epochs * num_batches // size,
    }[TailPolicy(config.tail_policy)]
