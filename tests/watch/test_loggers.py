"""Loggers by name."""

import importlib.util

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.settings.config import LOGGER_NAMES, RunOptions
from mambrane.storage.run_folder import RunFolder
from mambrane.watch import loggers
from mambrane.watch.loggers import LOGGERS, make_loggers, require_packages_of
from tests.watch.logged import EVENTS


def test_the_names_of_the_setting_are_those_that_there_are():
    assert (*LOGGERS, "none") == LOGGER_NAMES


@pytest.mark.parametrize("names", [("csv", "tensorbord"), ("none", "csv")])
def test_a_name_that_is_none_and_none_beside_another_are_refused(names):
    with pytest.raises(UserError, match="tensorboard, csv, wandb, mlflow"):
        RunOptions(logger=names)


def test_each_is_made_once_and_none_makes_none(tmp_path):
    made = make_loggers(("csv", "tensorboard", "csv"), RunFolder(tmp_path))
    assert [type(each).__name__ for each in made] == ["CsvListener", "TensorBoardListener"]
    assert make_loggers(("none",), RunFolder(tmp_path)) == []


def test_a_package_that_is_missing_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mambrane\[mlflow\]'"):
        require_packages_of(("csv", "mlflow"))
    require_packages_of(("csv", "tensorboard"))


@pytest.mark.parametrize("broken", ["wandb", "mlflow", "csv"])
def test_one_that_fails_falls_silent_and_the_others_go_on(tmp_path, monkeypatch, broken):
    class Broken:
        def __init__(self, folder):
            pass

        def __call__(self, event):
            raise ConnectionError("no network")

        def close(self):
            pass

    monkeypatch.setitem(loggers.LOGGERS, broken, Broken)
    heard = []
    events = EventLog()
    events.listeners = [*make_loggers((broken, "tensorboard"), RunFolder(tmp_path)), heard.append]
    for event in EVENTS:
        events.emit(**{("kind" if name == "event" else name): value for name, value in event.items()})
    for logger in events.listeners[:1]:
        events.close_listener(logger)
    assert [event["event"] for event in heard].count("listener_failed") == 1
    assert any((tmp_path / "tensorboard").iterdir())
