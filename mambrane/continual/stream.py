"""The stream: which text is learned when. A task is a text domain; without tasks, all domains are learned at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mambrane.continual.config import ContinualConfig
from mambrane.core.errors import UserError
from mambrane.data.domains import Domain
from mambrane.data.tokens import TokenFile

JOINT_NAME = "joint"
"""Name of the one task that holds every domain."""


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
    paced_by: tuple[TokenFile, ...] = ()
    """Text whose mean length an epoch has; left out: that of `train`."""
    starts_over: bool = False
    """Whether it is learned by a model of its own, from the initial weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """The tasks in order, and the domains that every evaluation measures."""

    tasks: tuple[Task, ...]
    domains: tuple[Domain, ...]


def build_stream(domains: Sequence[Domain], config: ContinualConfig, num_epochs: int) -> Stream:
    """Return one task a domain, for the first `num_tasks` domains; without continual learning one task over all.

    Every curriculum sees as many tokens: an epoch of several domains is as long as one of a domain is on average, and a
    task that repeats earlier domains (cumulative) is as long as its own domain alone.

    Raises:
        UserError: fewer domains than tasks, or fewer epochs.
    """
    if not config.continual_learning:
        everything = tuple(domain.train for domain in domains)
        joint = Task(index=0, name=JOINT_NAME, train=everything, num_epochs=num_epochs)
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
        return Stream(tasks=(Task(index=0, name=JOINT_NAME, train=text, num_epochs=num_epochs),), domains=learned)
    tasks = (
        Task(
            index=index,
            name=domain.name,
            train=text[: index + 1] if config.curriculum == "cumulative" else (domain.train,),
            num_epochs=epochs[index],
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
            way_out=f"--epochs {num_tasks}, or fewer --num-tasks",
        )
    share, remainder = divmod(num_epochs, num_tasks)
    return tuple(share + (index < remainder) for index in range(num_tasks))


def hashes_of(domains: Sequence[Domain]) -> dict[str, str]:
    """Return the content hash of each domain by name, by which a resumed run knows its text."""
    return {domain.name: domain.content_hash for domain in domains}


def refuse_another_tokenizer(state: dict[str, Any], tokenizer_hash: str) -> None:
    """Raise UserError if the state of a runner was saved with another tokenizer; states of old may not say with which.

    Args:
        state: as `Runner.state_dict` gave it.
        tokenizer_hash: of the tokenizer that is there now.
    """
    saved = state.get("tokenizer", "")
    if saved and tokenizer_hash and saved != tokenizer_hash:
        raise UserError(
            "the tokenizer is not the one that the run was trained with: equal numbers stand for other text",
            wanted="the tokenizer.json that the run wrote",
            way_out="restore the file from a copy; or remove it and run the train command again, which makes it anew",
        )


def refuse_changed_text(saved: dict[str, str], domains: Sequence[Domain]) -> None:
    """Raise UserError where the text of a domain is not what it was when the run was saved."""
    here = hashes_of(domains)
    changed = sorted(name for name in here.keys() | saved.keys() if here.get(name) != saved.get(name))
    if changed:
        raise UserError(
            f"the text of {', '.join(changed)} changed since the run was saved",
            wanted="the text that the run started with",
            way_out="restore it, or start a new run in another --output-dir",
        )
