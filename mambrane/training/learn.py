"""Teaching a run more: tasks behind those that it has learned, next month as well as at once.

A text is known by its content. The same call resumes what was interrupted, and says so where there is nothing left to
learn. Nothing is printed here.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mambrane.continual.outcome import Outcome
from mambrane.core.device import take_device
from mambrane.core.events import EventLog
from mambrane.core.seeding import seed_global_generators
from mambrane.data.cache_folder import cache_folder
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import tokenize_texts
from mambrane.data.tokenizer import read_tokenizer
from mambrane.engine.ranks import Ranks, open_ranks
from mambrane.engine.signals import StopRequest
from mambrane.run.run import Run
from mambrane.run.saved import mend_records
from mambrane.settings.config import RunConfig
from mambrane.settings.outside import load_extensions, with_extensions
from mambrane.settings.saved_config import read_configuration
from mambrane.settings.task_settings import dotted
from mambrane.storage.run_folder import RunFolder
from mambrane.training.news import News
from mambrane.training.place import Place, config_of, learned_place
from mambrane.training.processes import require_same_start, require_shared
from mambrane.training.session import (
    Listeners,
    log_of,
    read_listening,
    run_session,
    text_of_beginning,
    write_down,
)
from mambrane.watch.loggers import require_packages_of


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
    rate rises anew. Settings that are not given are those of the run's beginning, but for the recipe of later tasks
    (`mambrane.settings.later_task`): more epochs, smaller steps, more replay, no meta-plasticity. A run that was
    interrupted is finished first. The same call resumes, or, where everything is learned, changes nothing. Started by
    torchrun, all processes learn together; the first one locks, logs and saves.

    Args:
        run: the run or its folder.
        data: text to learn: files, folders, hf:NAME.
        extensions: rules of your own beside those of the run.
        listeners: called with each event as it happens.
        warnings: sentences to put into the run's log before the first step.
        **settings: what is to be another than that: `epochs=6`, `learning_rate=1e-3`, `max_forgetting=0.05`; `epochs`
            are those of this text in all.

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
        listeners = listeners if ranks.is_first else ()
        with folder.lock() if ranks.is_first else nullcontext():
            require_shared(ranks, folder)
            lesson = _Lesson(folder, began, changes, tuple(extensions), listeners, tuple(warnings), device, ranks)
            outcome = lesson.run()
    return Run.open(path, device=device, outcome=outcome)


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
        self.news = News(folder, began, changes)
        self.extensions, self.listeners, self.warnings = extensions, listeners, warnings
        self.device, self.ranks = device, ranks

    def run(self) -> Outcome:
        """Finish what was interrupted, then learn what is new."""
        place = learned_place(self.folder, self.began, EventLog())
        config = self.news.config
        require_packages_of(config.run.logger)
        config, from_outside = with_extensions(config, self.extensions)
        data, is_first = replace(config.data, task_order=()), self.ranks.is_first
        texts, early_events = self.ranks.first_before_others(lambda: read_listening(data, self.listeners, None))
        require_same_start(self.ranks, config, texts)
        tokenizer = read_tokenizer(self.folder.tokenizer_file)
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
                self.news.refuse_other_settings(place, texts)
                learned_now = {content_hash for task in place.tasks_left for content_hash in place.hashes_of(task)}
                pending = config_of(place, self.began)
                # A limit that the run was stopped at has been reached.
                max_steps = self.changes.get("run.max_steps", 0)
                pending = replace(pending, run=replace(pending.run, max_steps=max_steps))
                own = [*load_extensions(pending.run.extension), *self.extensions]
                outcome = session(pending, place=place, from_outside=own)
                if not outcome.is_finished:
                    return outcome
                place = learned_place(self.folder, self.began, events)
            addition = self.news.addition(place, config, texts, at_hand, events)
            if addition is None:
                others = [text for text in texts if text.content_hash not in learned_now]
                return self._nothing_new(place, others, outcome, events)
            # Behind what every process read of the run to find out what is new.
            self.ranks.wait()
            write_down(self.folder, texts, addition, config, events, self.ranks)
            self.news.recipe.tell(events)
            ended = session(config, place=place, addition=addition, from_outside=from_outside)
            return _also_taken_back(ended, outcome.taken_back)

    def _nothing_new(self, place: Place, texts: Sequence[Corpus], outcome: Outcome, events: EventLog) -> Outcome:
        """Say what became of the texts before."""
        taken_back = []
        for text in texts:
            known = self.news.known(place, text)
            assert known is not None, "it would be new"
            taken_back += [known.task["name"]] if known.was_taken_back else []
            events.emit("already_learned", message=f"the text of {text.name} {known.words()}")
        return _also_taken_back(outcome._replace(taken_back=tuple(taken_back)), outcome.taken_back)


def _also_taken_back(outcome: Outcome, before: tuple[str, ...]) -> Outcome:
    """Return how a call ended that had taken back other tasks before it came to what the outcome tells of."""
    return outcome._replace(taken_back=tuple(dict.fromkeys((*before, *outcome.taken_back))))
