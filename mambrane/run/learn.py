"""Teaching a run more: tasks behind those that it has learned, next month as well as at once.

A text is known by its content. The same call resumes what was interrupted, and says so where there is nothing left to
learn. Nothing is printed here.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mambrane.continual.outcome import Outcome
from mambrane.continual.stream import Task, split_epochs
from mambrane.core.device import take_device
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.seeding import seed_global_generators
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import Domain, tokenize_texts
from mambrane.data.heldout_copy import read_copy
from mambrane.data.overlap_warnings import warn_of_overlap
from mambrane.engine.ranks import Ranks, open_ranks
from mambrane.engine.signals import StopRequest
from mambrane.run.config import RunConfig, flat
from mambrane.run.configuration import read_configuration
from mambrane.run.extend import usual_epochs
from mambrane.run.folders import cache_folder
from mambrane.run.outside import load_extensions, with_extensions
from mambrane.run.place import Place, config_of, read_place
from mambrane.run.processes import require_same_start, require_shared
from mambrane.run.run import Run
from mambrane.run.saved import mend_records, read_tokenizer
from mambrane.run.session import (
    Addition,
    Listeners,
    log_of,
    named_apart,
    read_listening,
    refuse_dropout_of_own_rows,
    run_session,
    text_of_beginning,
    write_down,
)
from mambrane.run.task_settings import NOT_RECORDED, dotted, for_learning, own_settings
from mambrane.storage.run_folder import RunFolder
from mambrane.watch.loggers import require_packages_of

TERMS = ("continual.max_forgetting", "continual.min_gain")
"""Settings that decide whether a task is kept, and nothing about what it learns."""


def learn(
    run: Run | Path | str,
    data: Sequence[str | Path] | str | Path,
    *,
    extensions: Sequence[object] = (),
    listeners: Listeners = (),
    warnings: Sequence[str] = (),
    **settings: Any,  # noqa: ANN401 -- any setting's value
) -> Run:
    """Teach a run more text, each file or folder as a task of its own, and return the run.

    Replay memory, importances, anchors, teacher, rates of the neurons, averaged weights and matrix go on; the learning
    rate rises anew. A run that was interrupted is finished first. The same call resumes, or, where everything is
    learned, changes nothing. Started by torchrun, all processes learn together; the first one locks, logs and saves.

    Args:
        run: the run or its folder.
        data: text to learn: files, folders, hf:NAME.
        extensions: rules of your own beside those of the run.
        listeners: called with each event as it happens.
        warnings: sentences to put into the run's log before the first step.
        **settings: what is to be another than in the run's last task: `epochs=6`, `learning_rate=1e-3`,
            `max_forgetting=0.05`; `epochs` are those of this text in all, as many as the last task had for each task
            where it is left out.

    Returns:
        The run as its folder now holds it. Its `outcome` says whether it is finished, and which tasks were taken back.

    Raises:
        UserError: there is no run, a setting cannot change, or the text does not fit.

    Example:
        >>> run = learn("runs/first", "letters/", max_forgetting=0.05)  # doctest: +SKIP
    """
    path = run.folder if isinstance(run, Run) else Path(run)
    locations = tuple(map(str, [data] if isinstance(data, str | Path) else data))
    changes = {dotted(name): value for name, value in settings.items()} | {"data.data": locations}
    folder = RunFolder(path)
    began = read_configuration(folder)
    device = take_device(changes.get("run.device", began.run.device))
    seed_global_generators(began.run.seed)
    with open_ranks(device, timeout_s=changes.get("run.rank_timeout_s", began.run.rank_timeout_s)) as ranks:
        refuse_dropout_of_own_rows(began, ranks)
        listeners = listeners if ranks.is_first else ()
        with folder.lock() if ranks.is_first else nullcontext():
            require_shared(ranks, folder)
            lesson = _Lesson(folder, began, changes, tuple(extensions), listeners, tuple(warnings), device, ranks)
            outcome = lesson.run()
    return Run.open(path, device=device, outcome=outcome)


class _Known(NamedTuple):
    """What the run has done with a text before."""

    task: Mapping[str, Any]
    was_taken_back: bool


class _Lesson:
    """One call of `learn`, with the folder locked."""

    def __init__(
        self,
        folder: RunFolder,
        began: RunConfig,
        changes: Mapping[str, Any],
        extensions: tuple[object, ...],
        listeners: Listeners,
        warnings: tuple[str, ...],
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        self.folder, self.began, self.changes = folder, began, changes
        self.extensions, self.listeners, self.warnings = extensions, listeners, warnings
        self.device, self.ranks = device, ranks

    def run(self) -> Outcome:
        """Finish what was interrupted, then learn what is new."""
        place = self._place(EventLog())
        config = for_learning(self.began, self.changes)
        require_packages_of(config.run.logger)
        config, from_outside = with_extensions(config, self.extensions)
        data, is_first = replace(config.data, task_order=()), self.ranks.is_first
        texts, early_events = self.ranks.first_before_others(lambda: read_listening(data, self.listeners, None))
        require_same_start(self.ranks, config, texts)
        tokenizer = read_tokenizer(self.folder)
        with (
            log_of(self.folder, self.listeners, early_events, loggers=config.run.logger, is_first=is_first) as events,
            StopRequest(events) as stop,
        ):
            _, at_hand = self.ranks.first_before_others(
                lambda: tokenize_texts(texts, config.data, cache_folder(), events, is_stream=True, tokenizer=tokenizer)
            )
            if is_first and read_domain_records(self.folder.domains_file).damage:
                mend_records(self.folder, [*at_hand, *text_of_beginning(self.began, tokenizer)], events)
            # Behind what the first process mends.
            self.ranks.wait()
            session = partial(
                run_session,
                folder=self.folder,
                tokenizer=tokenizer,
                at_hand=at_hand,
                warnings=self.warnings,
                events=events,
                stop=stop,
                device=self.device,
                ranks=self.ranks,
            )
            outcome, learned_now = Outcome(True, "learned already"), set()
            if not place.is_done:
                self._refuse_other_settings(place, texts)
                learned_now = {content_hash for task in place.tasks_left for content_hash in place.hashes_of(task)}
                pending = config_of(place, self.began)
                # A limit that the run was stopped at has been reached.
                max_steps = self.changes.get("run.max_steps", 0)
                pending = replace(pending, run=replace(pending.run, max_steps=max_steps))
                own = [*load_extensions(pending.run.extension), *self.extensions]
                outcome = session(pending, place=place, from_outside=own)
                if not outcome.is_finished:
                    return outcome
                place = self._place(events)
            addition = self._addition(place, config, texts, at_hand, events)
            if addition is None:
                others = [text for text in texts if text.content_hash not in learned_now]
                return self._nothing_new(place, others, outcome, events)
            # Behind what every process read of the run to find out what is new.
            self.ranks.wait()
            write_down(self.folder, texts, addition, config, events, self.ranks)
            return session(config, place=place, addition=addition, from_outside=from_outside)

    def _place(self, events: EventLog) -> Place:
        place = read_place(self.folder, self.began, events)
        if place is None:
            raise UserError(
                f"{self.folder.path} has no checkpoint yet",
                wanted="a run that has trained",
                way_out="run its train command again",
            )
        return place

    def _refuse_other_settings(self, place: Place, texts: Sequence[Corpus]) -> None:
        """Refuse to go on with an interrupted task under settings that are not its own."""
        asked = {text.content_hash for text in texts}
        for task in place.tasks_left:
            if not asked & set(place.hashes_of(task)):
                continue
            differences = self._differences(task, (*TERMS,), len(texts))
            if differences:
                raise UserError(
                    "\n  ".join([f"the run is in the midst of learning {task['name']} otherwise:", *differences]),
                    wanted="the settings that the task began with, until it is finished",
                    way_out="leave them out: the task goes on with its own",
                )

    def _addition(
        self, place: Place, config: RunConfig, texts: Sequence[Corpus], at_hand: Sequence[Domain], events: EventLog
    ) -> Addition | None:
        """Return the tasks that are new to the run; None where all are learned."""
        new = [number for number, text in enumerate(texts) if self._is_new(place, text, len(texts))]
        if not new:
            return None
        names, hashes = list(place.text), list(place.text.values())
        share = split_epochs(self.changes.get("run.epochs", usual_epochs(self.began) * len(texts)), len(texts))
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

    def _is_new(self, place: Place, text: Corpus, num_texts: int) -> bool:
        known = self._known(place, text)
        if known is None:
            return True
        # Terms say whether a task is kept: what is kept is not learned again for them.
        passed_over = () if known.was_taken_back else TERMS
        return bool(self._differences(known.task, passed_over, num_texts))

    def _known(self, place: Place, text: Corpus) -> _Known | None:
        """Return what the run last did with a text."""
        for attempt in reversed(place.state["attempts"]):
            # Behind other tasks it is another attempt.
            if attempt["content_hashes"] == [text.content_hash] and attempt["after_tasks"] == len(place.tasks):
                return _Known(attempt, True)
        for task in reversed(place.tasks):
            if text.content_hash in place.hashes_of(task):
                return _Known(task, False)
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

    def _nothing_new(self, place: Place, texts: Sequence[Corpus], outcome: Outcome, events: EventLog) -> Outcome:
        """Say what became of the texts before."""
        taken_back = []
        for text in texts:
            known = self._known(place, text)
            assert known is not None, "it would be new"
            if known.was_taken_back:
                taken_back.append(known.task["name"])
                words = f"was learned before and taken back: {known.task['reason']}"
            else:
                words = f"is learned already, as {known.task['name']} ({known.task['num_epochs']} epochs)"
            events.emit("already_learned", message=f"the text of {text.name} {words}")
        return outcome._replace(taken_back=tuple(dict.fromkeys((*outcome.taken_back, *taken_back))))
