"""A text is new by its content, and by how it is asked for."""

import pytest

from mambrane.core.events import EventLog
from mambrane.data.domains import read_texts
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.news import Known, News
from mambrane.training.place import learned_place


@pytest.fixture
def asked(run_folder, tmp_path):
    """The run's place, its news for some changes, and texts: one that it learned, and one that it did not."""
    config, folder = Run.open(run_folder).config, RunFolder(run_folder)
    texts = read_texts(config.data, tmp_path, EventLog(), 3)
    place = learned_place(folder, config, EventLog())
    return place, (lambda changes: News(folder, config, changes)), (texts[1], texts[2])


def test_a_text_is_new_where_the_run_has_not_learned_it_so(asked):
    place, news_of, (old, new) = asked
    news = news_of({})
    assert not news.is_new(place, old, 1)
    assert news.is_new(place, new, 1)
    assert news.known(place, new) is None
    # The recipe of later tasks makes no text new: only what was asked for does.
    assert news_of({"engine.learning_rate": 1e-4}).is_new(place, old, 1)
    assert news_of({"run.epochs": 3}).is_new(place, old, 1)
    assert not news_of({"run.epochs": 1}).is_new(place, old, 1)
    # Terms say whether a task is kept: what is kept is not learned again for them.
    assert not news_of({"continual.max_forgetting": 0.1}).is_new(place, old, 1)


def test_what_became_of_a_text_is_said():
    assert Known({"name": "letters", "num_epochs": 3}, False).words() == "is learned already, as letters (3 epochs)"
    taken_back = Known({"name": "letters", "reason": "it cost too much"}, True)
    assert taken_back.words() == "was learned before and taken back: it cost too much"
