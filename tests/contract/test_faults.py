"""Faults of a whole run: each is told at once, in words that help, and the same command goes on as if nothing was."""

import errno
import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from mambrane.core.events import Event, EventLog, EventLogError, read_events
from mambrane.data.loader import SequenceLoader
from mambrane.engine.signals import StopRequest
from mambrane.settings.config import RunConfig
from mambrane.storage import checkpoint_files as checkpoint_module
from mambrane.storage.atomic_files import StorageError
from tests.contract.whole_run import CONFIG, domains_of, sit, whole_state
from tests.engine.tiny_training import training_differences

DOMAINS = domains_of(7, 7, 7)
"""Two steps an epoch: twelve in all."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing disturbs."""
    return sit(tmp_path_factory.mktemp("straight"), DOMAINS)


def saving_every(num_steps: int) -> RunConfig:
    """The run with a checkpoint after each so many applied steps."""
    return replace(CONFIG, engine=replace(CONFIG.engine, save_every=num_steps))


def wait_for_the_save(event: Event) -> None:
    """Let the save in flight end before the step does, however slow the disk is."""
    if event["event"] == "step":
        for thread in threading.enumerate():
            if thread.name == "checkpoint-saver":
                thread.join()


def test_a_save_that_fails_in_the_background_ends_the_run_at_that_step(tmp_path, straight, monkeypatch):
    write_new_file, closed = checkpoint_module.write_new_file, []
    config = saving_every(5)

    def fail_at_step_5(path, chunks):
        if path.parent.name.startswith("step-00000005"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_new_file(path, chunks)

    def follow(event):
        wait_for_the_save(event)
        closed.extend([(event["state"], event["step"])] if event["event"] == "step" else [])

    monkeypatch.setattr(checkpoint_module, "write_new_file", fail_at_step_5)
    with pytest.raises(StorageError, match="No space left"):
        sit(tmp_path, DOMAINS, config=config, on_event=follow)
    assert closed[-2] == ("COMMITTED", 5)
    monkeypatch.undo()
    resumed = sit(tmp_path, DOMAINS, config=config)
    assert resumed.outcome.is_finished
    assert training_differences(whole_state(straight.runner), whole_state(resumed.runner)) == []


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let the system refuse every write beyond so many bytes of a file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room_for_events", [0, 3_000, 9_000])
def test_an_event_log_that_is_full_ends_the_run_and_nothing_is_lost(tmp_path, straight, room_for_events):
    log = tmp_path / "events.jsonl"
    log.write_text((json.dumps({"event": "long ago"}) + "\n") * 20_000)
    with largest_file(log.stat().st_size + room_for_events), pytest.raises(EventLogError, match="File too large"):
        sit(tmp_path, DOMAINS, config=saving_every(1))
    told = [event for event in read_events(log) if event["event"] != "long ago"]
    assert (len(told) > 0) == (room_for_events > 0)
    resumed = sit(tmp_path, DOMAINS, config=saving_every(1))
    if room_for_events == 9_000:
        assert (
            0 < resumed.step_events[0]["step"] - 1 <= max(event["step"] for event in told if event["event"] == "step")
        )
    assert resumed.outcome.is_finished
    assert training_differences(whole_state(straight.runner), whole_state(resumed.runner)) == []
    written = [event["event"] for event in read_events(log)]
    assert written[-len(resumed.events) :] == [event["event"] for event in resumed.events]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_background_save_stops_the_run_and_that_save_counts(
    tmp_path, straight, monkeypatch, number, times
):
    write_new_file, config = checkpoint_module.write_new_file, saving_every(5)

    def interrupt_at_step_5(path, chunks):
        if path.parent.name.startswith("step-00000005") and path.name == "optimizer.json":
            for _ in range(times):
                os.kill(os.getpid(), number)
        return write_new_file(path, chunks)

    monkeypatch.setattr(checkpoint_module, "write_new_file", interrupt_at_step_5)
    with StopRequest(EventLog()) as stop:
        stopped = sit(
            tmp_path,
            DOMAINS,
            config=config,
            should_stop=lambda runner: stop.requested,
            on_event=wait_for_the_save,
        )
    monkeypatch.undo()
    assert stop.exit_code == 128 + number
    assert not stopped.outcome.is_finished
    assert 5 in [event["step"] for event in stopped.events if event["event"] == "checkpoint_saved"]
    resumed = sit(tmp_path, DOMAINS, config=config)
    assert training_differences(whole_state(straight.runner), whole_state(resumed.runner)) == []


@pytest.mark.parametrize(
    "fails_at",
    [
        pytest.param(14 + 2, id="while the first task is looked back at"),
        pytest.param(14 + 4 + 2, id="in the first step of the second task"),
        pytest.param(14 + 4 + 6, id="in the tail of its first epoch"),
    ],
)
def test_text_that_cannot_be_read_ends_the_run_and_nothing_is_lost(tmp_path, straight, monkeypatch, fails_at):
    epoch_batches, read = SequenceLoader.epoch_batches, []

    def vanish(loader):
        for batch in epoch_batches(loader):
            read.append(loader.epoch)
            if len(read) == fails_at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield batch

    monkeypatch.setattr(SequenceLoader, "epoch_batches", vanish)
    with pytest.raises(OSError, match="Input/output error"):
        sit(tmp_path, DOMAINS, config=saving_every(1))
    monkeypatch.undo()
    resumed = sit(tmp_path, DOMAINS, config=saving_every(1))
    assert training_differences(whole_state(straight.runner), whole_state(resumed.runner)) == []
