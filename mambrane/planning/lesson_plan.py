"""What `learn` would do with a run, before anything is learned: nothing is written but the cache of the text."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.continual.stream import Stream
from mambrane.core.device import take_device
from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domains import read_texts, tokenize_texts
from mambrane.data.tokenizer import read_tokenizer
from mambrane.planning.plan import TaskPlan
from mambrane.run.build import build_task_kind
from mambrane.settings.outside import with_extensions
from mambrane.settings.saved_config import read_configuration
from mambrane.settings.task_settings import dotted
from mambrane.storage.run_folder import RunFolder
from mambrane.training.assembly import steps_by_task
from mambrane.training.news import News
from mambrane.training.place import learned_place
from mambrane.training.timing import expected_time_now
from mambrane.watch.event_messages import warning_of


class LessonPlan(NamedTuple):
    """Tasks that would be added to a run, and in words what else there is to know."""

    tasks: tuple[TaskPlan, ...]
    num_before: int
    """Tasks that the run has."""
    sentences: tuple[str, ...]
    seconds: float
    """About how long the added tasks take."""


def plan_lesson(folder: Path, data: Sequence[str], **settings: Any) -> LessonPlan:  # noqa: ANN401 -- any setting's value
    """Return what `learn` would do with the same arguments.

    Args:
        folder: of the run.
        data: text to learn: files, folders, hf:NAME.
        **settings: as of `learn`.

    Raises:
        UserError: `learn` would be refused.
    """
    run, events, warnings = RunFolder(folder), EventLog(), list[str]()
    events.listeners.append(lambda event: warnings.extend(filter(None, [warning_of(event)])))
    changes = {dotted(name): value for name, value in settings.items()} | {"data.data": tuple(data)}
    began = read_configuration(run)
    device = take_device(changes.get("run.device", began.run.device))
    place = learned_place(run, began, events)
    news = News(run, began, changes)
    config, _ = with_extensions(news.config, ())
    texts = read_texts(replace(config.data, task_order=()), cache_folder(), events)
    tokenizer = read_tokenizer(run.tokenizer_file)
    _, domains = tokenize_texts(texts, config.data, cache_folder(), events, is_stream=True, tokenizer=tokenizer)
    news.refuse_other_settings(place, texts)
    sentences = [f"{task['name']} is half learned: it is finished first, as it began" for task in place.tasks_left]
    known = {text.name: news.known(place, text) for text in texts if not news.is_new(place, text, len(texts))}
    sentences += [f"the text of {name} {found.words()}" for name, found in known.items() if found is not None]
    addition = news.addition(place, config, texts, domains, events)
    if addition is None:
        return LessonPlan((), len(place.tasks), (*sentences, *warnings), 0.0)
    stream = Stream(tasks=addition.tasks, domains=addition.domains)
    kind = build_task_kind(config, device)
    tasks = tuple(
        TaskPlan(task.name, task.num_epochs, steps, kind.make_loader(task).num_tokens * task.num_epochs)
        for task, steps in zip(stream.tasks, steps_by_task(config, stream), strict=True)
    )
    seconds = expected_time_now(config, stream, tokenizer.vocab_size, device).seconds
    return LessonPlan(tasks, len(place.tasks), (*sentences, news.recipe.sentence(), *warnings), seconds)
