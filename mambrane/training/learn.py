"""Teaching a run more: tasks behind those that it has learned, next month as well as at once.

A text is known by its content. The same call resumes what was interrupted, and says so where there is nothing left to
learn. Nothing is printed here.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mambrane.continual.outcome import Outcome
from mambrane.core.device import take_device
from mambrane.core.events import EventLog
from mambrane.core.seeding import seed_global_generators
from mambrane.data.cache_folder import cache_folder
from mambrane.data.corpus import Corpus
from mambrane.data.domain_records import read_domain_records
from mambrane.data.domains import Domain, tokenize_texts
from mambrane.data.tokenizer import Tokenizer, read_tokenizer
from mambrane.engine.ranks import open_ranks
from mambrane.run.run import Run
from mambrane.run.saved import mend_records
from mambrane.settings.config import RunConfig
from mambrane.settings.outside import load_extensions, with_extensions
from mambrane.settings.saved_config import read_configuration
from mambrane.settings.task_settings import dotted
from mambrane.storage.run_folder import RunFolder
from mambrane.training.addition import write_down
from mambrane.training.continue_run import continue_run
from mambrane.training.known_text import text_of_beginning
from mambrane.training.news import News
from mambrane.training.place import Place, config_of, learned_place
from mambrane.training.processes import require_same_start, require_shared
from mambrane.training.session import Listeners, Session, open_session, read_listening
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
            news = News(folder, began, changes)
            place = learned_place(folder, began, EventLog())
            require_packages_of(news.config.run.logger)
            config, from_outside = with_extensions(news.config, extensions)
            as_given = replace(config.data, task_order=())
            texts, early_events = ranks.first_before_others(lambda: read_listening(as_given, listeners, None))
            require_same_start(ranks, config, texts)
            with open_session(
                folder, listeners, early_events, loggers=config.run.logger, device=device, ranks=ranks
            ) as session:
                lesson = _Lesson(session, news, config, texts, extensions, from_outside, warnings)
                outcome = lesson.learn(place)
    return Run.open(path, device=device, outcome=outcome)


@dataclass(frozen=True)
class _Lesson:
    """One call of `learn`: the text that was given, and what is new of it."""

    session: Session
    news: News
    config: RunConfig
    """What an added task is learned with."""
    texts: list[Corpus]
    extensions: Sequence[object]
    """Those that the caller gave."""
    from_outside: Sequence[object]
    """These, and those that the configuration names."""
    warnings: Sequence[str]

    def learn(self, place: Place) -> Outcome:
        """Finish what was interrupted, then learn what is new."""
        session, news, config, texts = self.session, self.news, self.config, self.texts
        folder, events, ranks = session.folder, session.events, session.ranks
        tokenizer = read_tokenizer(folder.tokenizer_file)
        _, at_hand = ranks.first_before_others(
            lambda: tokenize_texts(texts, config.data, cache_folder(), events, is_stream=True, tokenizer=tokenizer)
        )
        if ranks.is_first and read_domain_records(folder.domains_file).damage:
            mend_records(folder, [*at_hand, *text_of_beginning(news.began, tokenizer)], events)
        # Behind what the first process mends.
        ranks.wait()
        outcome, learned_now = Outcome(True, "learned already"), set()
        if not place.is_done:
            news.refuse_other_settings(place, texts)
            learned_now = {content_hash for task in place.tasks_left for content_hash in place.hashes_of(task)}
            outcome = self._finish(place, tokenizer, at_hand)
            if not outcome.is_finished:
                return outcome
            place = learned_place(folder, news.began, events)
        addition = news.addition(place, config, texts, at_hand, events)
        if addition is None:
            others = [text for text in texts if text.content_hash not in learned_now]
            return self._nothing_new(place, others, outcome)
        write_down(session, texts, addition, config)
        news.recipe.tell(events)
        ended = continue_run(
            session,
            config,
            tokenizer,
            at_hand,
            place=place,
            addition=addition,
            from_outside=self.from_outside,
            warnings=self.warnings,
        )
        return ended.also_taken_back(outcome.taken_back)

    def _finish(self, place: Place, tokenizer: Tokenizer, at_hand: Sequence[Domain]) -> Outcome:
        """Go on with the task that was interrupted, under its own settings."""
        config = config_of(place, self.news.began)
        # A limit that the run was stopped at has been reached.
        config = replace(config, run=replace(config.run, max_steps=self.news.changes.get("run.max_steps", 0)))
        own = [*load_extensions(config.run.extension), *self.extensions]
        return continue_run(
            self.session, config, tokenizer, at_hand, place=place, from_outside=own, warnings=self.warnings
        )

    def _nothing_new(self, place: Place, texts: Sequence[Corpus], outcome: Outcome) -> Outcome:
        """Say what became of the texts before."""
        taken_back = []
        for text in texts:
            known = self.news.known(place, text)
            assert known is not None, "it would be new"
            taken_back += [known.task["name"]] if known.was_taken_back else []
            self.session.events.emit("already_learned", message=f"the text of {text.name} {known.words()}")
        return outcome._replace(taken_back=tuple(taken_back)).also_taken_back(outcome.taken_back)
