"""Which texts that a run is given are new to it, and the tasks that they become. A text is known by its content."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mambrane.continual.stream import Task, split_epochs
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import Domain
from mambrane.data.heldout_copy import read_copy
from mambrane.data.overlap_warnings import warn_of_overlap
from mambrane.settings.config import RunConfig, flat
from mambrane.settings.later_task import recipe_of
from mambrane.settings.task_settings import NOT_RECORDED, for_learning, own_settings
from mambrane.storage.run_folder import RunFolder
from mambrane.training.addition import Addition, named_apart
from mambrane.training.place import Place

TERMS = ("continual.max_forgetting", "continual.min_gain")
"""Settings that decide whether a task is kept, and nothing about what it learns."""


class Known(NamedTuple):
    """What the run has done with a text before."""

    task: Mapping[str, Any]
    was_taken_back: bool

    def words(self) -> str:
        """Return it in words, behind the name of the text."""
        if self.was_taken_back:
            return f"was learned before and taken back: {self.task['reason']}"
        return f"is learned already, as {self.task['name']} ({self.task['num_epochs']} epochs)"


class News:
    """What is new to a run of that which is asked of it."""

    def __init__(self, folder: RunFolder, began: RunConfig, changes: Mapping[str, Any]) -> None:
        """Find out how tasks are learned that are asked for in this way.

        Args:
            folder: of the run.
            began: what it began with.
            changes: settings that were asked for, by dotted name.

        Raises:
            UserError: a setting that cannot change within a run.
        """
        self.folder, self.began, self.changes = folder, began, changes
        self.recipe = recipe_of(began, changes)
        self.config = for_learning(began, {**self.recipe.settings, **changes})
        """What an added task is learned with."""

    def refuse_other_settings(self, place: Place, texts: Sequence[Corpus]) -> None:
        """Refuse to go on with an interrupted task under settings that are not its own."""
        asked = {text.content_hash for text in texts}
        for task in place.tasks_left:
            if not asked & set(place.hashes_of(task)):
                continue
            differences = self._differences(task, TERMS, len(texts))
            if differences:
                raise UserError(
                    "\n  ".join([f"the run is in the midst of learning {task['name']} otherwise:", *differences]),
                    wanted="the settings that the task began with, until it is finished",
                    way_out="leave them out: the task goes on with its own",
                )

    def addition(
        self, place: Place, config: RunConfig, texts: Sequence[Corpus], at_hand: Sequence[Domain], events: EventLog
    ) -> Addition | None:
        """Return the tasks that are new to the run; None where all are learned."""
        new = [number for number, text in enumerate(texts) if self.is_new(place, text, len(texts))]
        if not new:
            return None
        names, hashes = list(place.text), list(place.text.values())
        share = split_epochs(self.changes.get("run.epochs", self.recipe.num_epochs * len(texts)), len(texts))
        settings = own_settings(self.began, config)
        tasks, domains = list[Task](), list[Domain]()
        for number in new:
            domain = at_hand[number]
            if domain.content_hash in hashes:
                column = hashes.index(domain.content_hash)
            else:
                (domain,) = named_apart([domain], names)
                column = len(names)
                names.append(domain.name)
                hashes.append(domain.content_hash)
                domains.append(domain)
            visit = sum(place.hashes_of(task) == [domain.content_hash] for task in place.tasks)
            tasks.append(
                Task(
                    index=len(place.tasks) + len(tasks),
                    name=names[column],
                    train=(domain.train,),
                    num_epochs=share[number],
                    columns=(column,),
                    visit=visit,
                    settings=settings,
                )
            )
        known = [
            (record["name"], copy)
            for record in read_domain_records(self.folder.domains_file).records
            if (copy := read_copy(self.folder.heldout_folder, record["heldout"]["content_hash"])) is not None
        ]
        warn_of_overlap(known, [texts[number] for number in new], events)
        return Addition(tasks=tuple(tasks), domains=tuple(domains))

    def is_new(self, place: Place, text: Corpus, num_texts: int) -> bool:
        """Return whether a text, one of so many that are asked for, is to be learned."""
        known = self.known(place, text)
        if known is None:
            return True
        # Terms say whether a task is kept: what is kept is not learned again for them.
        passed_over = () if known.was_taken_back else TERMS
        return bool(self._differences(known.task, passed_over, num_texts))

    def known(self, place: Place, text: Corpus) -> Known | None:
        """Return what the run last did with a text."""
        for attempt in reversed(place.state["attempts"]):
            # Behind other tasks it is another attempt.
            if attempt["content_hashes"] == [text.content_hash] and attempt["after_tasks"] == len(place.tasks):
                return Known(attempt, True)
        for task in reversed(place.tasks):
            if text.content_hash in place.hashes_of(task):
                return Known(task, False)
        return None

    def _differences(self, task: Mapping[str, Any], passed_over: Sequence[str], num_texts: int) -> list[str]:
        """Return where the settings that were asked for are not those that a task was learned with."""
        own = {**flat(self.began), **task["settings"]}
        asked = {name: list(value) if isinstance(value, tuple) else value for name, value in self.changes.items()}
        differences = [
            f"{name}: {own[name]} -> {value}"
            for name, value in asked.items()
            if name not in (*NOT_RECORDED, *passed_over) and own.get(name) != value
        ]
        epochs = self.changes.get("run.epochs")
        if epochs is not None and task["num_epochs"] not in split_epochs(epochs, num_texts):
            differences.append(f"run.epochs: {task['num_epochs']} -> {epochs}")
        return differences
