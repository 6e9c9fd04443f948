"""What `train` makes of more than a run began with: more text and more epochs are tasks behind those that it has.

more text       each new text is a task, with the epochs that the words have more than the run has had of their
                texts, or, where they have no more, those of the recipe of later tasks (settings/later_task.py)
more epochs     the same texts are learned again, in order, with the epochs that the words have more
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mambrane.continual.stream import Task, split_epochs
from mambrane.core.errors import UserError
from mambrane.data.domains import Domain
from mambrane.settings.config import OPERATIONAL, RunConfig, to_dict
from mambrane.storage.run_folder import config_differences
from mambrane.training.addition import Addition, named_apart
from mambrane.training.place import Place

MAY_GROW = ("run.epochs", "continual.num_tasks")


def extends(began: RunConfig, asked: RunConfig, num_texts: tuple[int, int]) -> bool:
    """Return whether a configuration asks for more of a run, and for nothing else than it began with.

    `num_texts` are those that the run began with, and those that are asked for.
    """
    if config_differences(to_dict(began), to_dict(asked), operational=[*OPERATIONAL, *MAY_GROW]):
        return False
    has_no_less = asked.run.epochs >= began.run.epochs and num_texts[1] >= num_texts[0]
    return has_no_less and (asked.run.epochs > began.run.epochs or num_texts[1] > num_texts[0])


def addition_of(
    place: Place,
    began: RunConfig,
    asked: RunConfig,
    texts: Sequence[Domain],
    *,
    num_epochs: int,
    settings: Mapping[str, Any],
) -> Addition | None:
    """Return the tasks that a finished run lacks of what is asked for, over all texts in order; None if it lacks none.

    `num_epochs` are those of a new text where the words do not say, `settings` those in which its task differs from
    the beginning.

    Raises:
        UserError: more epochs than before, and too few of them for the texts.
    """
    hashes = [text.content_hash for text in texts]
    known = set(place.text.values())
    # Later tasks on the same text count: the same words ask for no more than they did.
    learned = sum(task["num_epochs"] for task in place.tasks if set(place.hashes_of(task)) <= set(hashes))
    left = asked.run.epochs - learned
    new = [text for text in texts if text.content_hash not in known]
    if new:
        epochs = split_epochs(left if left >= len(new) else num_epochs * len(new), len(new))
        return _new_texts(place, new, epochs, settings)
    return _again(place, began, texts, left) if left > 0 else None


def _new_texts(place: Place, new: Sequence[Domain], epochs: Sequence[int], settings: Mapping[str, Any]) -> Addition:
    domains = named_apart(new, list(place.text))
    tasks = (
        Task(
            index=len(place.tasks) + number,
            name=domain.name,
            train=(domain.train,),
            num_epochs=epochs[number],
            columns=(len(place.text) + number,),
            settings=settings,
        )
        for number, domain in enumerate(domains)
    )
    return Addition(tasks=tuple(tasks), domains=tuple(domains))


def _again(place: Place, began: RunConfig, texts: Sequence[Domain], epochs: int) -> Addition:
    """Return the tasks of the run's beginning once more, over these epochs in all."""
    by_hash = {text.content_hash: text for text in texts}
    wanted = [task for task in place.tasks if task["visit"] == 0 and set(place.hashes_of(task)) <= by_hash.keys()]
    if epochs < len(wanted):
        raise UserError(
            f"--epochs {began.run.epochs + epochs}: {epochs} more for {len(wanted)} tasks",
            wanted="at least one more for each task",
            way_out=f"--epochs {began.run.epochs + len(wanted)}",
        )
    share = split_epochs(epochs, len(wanted))
    tasks = (
        Task(
            index=len(place.tasks) + number,
            name=record["name"],
            train=tuple(by_hash[content_hash].train for content_hash in place.hashes_of(record)),
            num_epochs=share[number],
            columns=tuple(record["columns"]),
            visit=1 + max(task["visit"] for task in place.tasks if task["columns"] == record["columns"]),
        )
        for number, record in enumerate(wanted)
    )
    return Addition(tasks=tuple(tasks), domains=())
