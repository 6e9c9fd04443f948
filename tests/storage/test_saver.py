"""A save in the background is the same save: same bytes, same errors, none lost."""

import os
import threading

import pytest
import torch

from mambrane.core.events import EventLog
from mambrane.storage import checkpoint_files as checkpoint_module
from mambrane.storage.atomic_files import StorageError
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.saver import BackgroundSaver


class Gate:
    """Holds the writing thread just before the manifest until it is opened."""

    def __init__(self, monkeypatch, error=None):
        self.reached, self.opened, self.error = threading.Event(), threading.Event(), error
        self.write_new_file = checkpoint_module.write_new_file
        monkeypatch.setattr(checkpoint_module, "write_new_file", self.write)

    def write(self, path, chunks):
        if path.name == "manifest.json":
            self.reached.set()
            assert self.opened.wait(timeout=30)
            if self.error is not None:
                raise self.error
        return self.write_new_file(path, chunks)


@pytest.fixture
def events():
    return []


@pytest.fixture
def checkpoints(tmp_path, events):
    log = EventLog()
    log.listeners.append(lambda event: events.append((event["event"], threading.current_thread().name)))
    return Checkpoints(tmp_path / "checkpoints", keep=2, events=log)


def save_async(saver, step, weight):
    saver.save_async(step, {"trainer": {"applied": step, "moment": weight}}, weights={"model": {"weight": weight}})


def test_the_files_are_those_of_a_save_in_the_foreground(checkpoints, tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    with BackgroundSaver(checkpoints) as saver:
        save_async(saver, 5, weight)
    other = Checkpoints(tmp_path / "foreground", keep=2, events=EventLog())
    path = other.save(5, {"trainer": {"applied": 5, "moment": weight}}, weights={"model": {"weight": weight}})
    for name in os.listdir(path):
        assert (path / name).read_bytes() == (checkpoints.folder / path.name / name).read_bytes()


def test_training_on_does_not_change_what_is_being_saved(checkpoints, monkeypatch):
    gate = Gate(monkeypatch)
    weight = torch.zeros(4)
    state = {"applied": [1], "moment": weight}
    with BackgroundSaver(checkpoints) as saver:
        saver.save_async(1, {"trainer": state}, weights={"model": {"weight": weight}})
        weight += 1
        state["applied"].append(2)
        gate.opened.set()
    loaded = checkpoints.load_newest()
    assert loaded.parts["trainer"]["applied"] == [1]
    assert torch.equal(loaded.parts["trainer"]["moment"], torch.zeros(4))
    assert torch.equal(loaded.weights["model"]["weight"], torch.zeros(4))


def test_the_caller_goes_on_while_the_save_is_in_flight(checkpoints, events, monkeypatch):
    gate = Gate(monkeypatch)
    saver = BackgroundSaver(checkpoints)
    save_async(saver, 1, torch.zeros(4))
    assert gate.reached.wait(timeout=30)
    assert saver.poll() is True
    assert not (checkpoints.folder / "step-00000001").exists()
    gate.opened.set()
    saver.close()
    assert saver.poll() is False
    assert events == [("checkpoint_saved", threading.main_thread().name)]


def test_a_second_save_waits_for_the_first(checkpoints, events, monkeypatch):
    gate = Gate(monkeypatch)
    saver = BackgroundSaver(checkpoints)
    save_async(saver, 1, torch.zeros(4))
    assert gate.reached.wait(timeout=30)
    second = threading.Thread(target=save_async, args=(saver, 2, torch.ones(4)))
    second.start()
    assert [path.name.partition("-")[0] for path in checkpoints.folder.iterdir()] == ["step"]
    assert second.is_alive()
    gate.opened.set()
    second.join(timeout=30)
    saver.close()
    assert [kind for kind, _ in events] == ["checkpoint_saved", "checkpoint_saved"]
    assert checkpoints.load_newest().step == 2


@pytest.mark.parametrize("moment", ["next save", "poll", "wait", "close"])
def test_an_error_reaches_the_caller_once_and_the_saver_works_on(checkpoints, monkeypatch, moment):
    gate = Gate(monkeypatch, error=OSError(28, "No space left on device"))
    saver = BackgroundSaver(checkpoints)
    save_async(saver, 1, torch.zeros(4))
    gate.opened.set()
    surface = {
        "next save": lambda: save_async(saver, 2, torch.ones(4)),
        "poll": lambda: poll_until_landed(saver),
        "wait": saver.wait,
        "close": saver.close,
    }[moment]
    with pytest.raises(StorageError, match="No space left"):
        surface()
    assert list(checkpoints.folder.iterdir()) == []
    gate.error = None
    save_async(saver, 3, torch.ones(4))
    saver.close()
    assert checkpoints.load_newest().step == 3


def poll_until_landed(saver):
    while saver.poll():
        threading.Event().wait(0.001)


def test_an_error_of_the_body_is_not_hidden_by_one_of_the_save(checkpoints, monkeypatch):
    gate = Gate(monkeypatch, error=OSError(5, "Input/output error"))
    gate.opened.set()

    def train():
        with BackgroundSaver(checkpoints) as saver:
            save_async(saver, 1, torch.zeros(4))
            raise KeyError("of the body")

    with pytest.raises(KeyError, match="of the body") as failure:
        train()
    assert "Input/output error" in failure.value.__notes__[0]


def test_what_is_no_state_is_told_at_once_and_nothing_flies(checkpoints):
    saver = BackgroundSaver(checkpoints)
    with pytest.raises(TypeError, match="/applied"):
        saver.save_async(1, {"trainer": {"applied": object()}}, weights={})
    assert saver.poll() is False


def test_two_saves_at_once_from_two_threads_both_stand(checkpoints):
    threads = [
        threading.Thread(
            target=checkpoints.save,
            args=(step, {"trainer": {"applied": step}}),
            kwargs={"weights": {"model": {"weight": torch.full((1000,), float(step))}}},
        )
        for step in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(checkpoints.folder)) == ["step-00000001", "step-00000002"]
    assert checkpoints.load_newest().step == 2
