"""The event log survives a kill and never writes what JSON does not know."""

import asyncio
import errno
import io
import json
import logging
import os
import sys

import pytest

from mambrane.core.events import EventLog, EventLogError, read_events


def test_events_come_back_in_order(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    for number in range(3):
        log.emit("step", step=number)
    log.close()
    assert [event["step"] for event in read_events(tmp_path / "events.jsonl")] == [0, 1, 2]


def test_a_torn_last_line_is_passed_over_in_silence_and_gone_when_the_log_goes_on(tmp_path):
    path, told = tmp_path / "events.jsonl", []
    path.write_text('{"event": "a"}\n{"event": "b", "st')
    assert [event["event"] for event in read_events(path, tell_damage=told.append)] == ["a"]
    log = EventLog(path)
    log.emit("c")
    log.close()
    assert [event["event"] for event in read_events(path, tell_damage=told.append)] == ["a", "c"]
    assert len(path.read_text().splitlines()) == 2
    assert told == []


@pytest.mark.parametrize("whole", ["", '{"event": "a"}\n'])
def test_a_torn_line_longer_than_a_block_is_removed(tmp_path, whole):
    path = tmp_path / "events.jsonl"
    path.write_text(whole + '{"event": "' + "b" * 200_000)
    EventLog(path).close()
    assert path.read_text() == whole


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "a"}')
    log = EventLog(path)
    log.emit("b")
    log.close()
    assert [event["event"] for event in read_events(path)] == ["a", "b"]


NO_EVENTS = {
    "null": b"null",
    "a list": b"[]",
    "a number": b"3",
    "text": b'"x"',
    "no kind": b"{}",
    "a kind that is no text": b'{"event": 3}',
    "cut": b'{"event": "a", "st',
    "NaN": b'{"event": "a", "loss": NaN}',
    "binary": b"\x00\xff\xfe",
    "deep": b"[" * 200_000,
    "digits": b'{"event": "a", "step": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("line", NO_EVENTS.values(), ids=NO_EVENTS)
def test_a_broken_line_that_is_not_the_last_is_left_out_and_told(tmp_path, line):
    path, told = tmp_path / "events.jsonl", []
    path.write_bytes(b'{"event": "a"}\n' + line + b'\n{"event": "b"}\n')
    assert [event["event"] for event in read_events(path, tell_damage=told.append)] == ["a", "b"]
    assert told == [f"{path}: 1 of 3 lines cannot be read and are left out, the first is line 2"]


def failing(error):
    def listener(event):
        raise error

    return listener


@pytest.mark.parametrize(
    "error", [BrokenPipeError("gone"), KeyError("x"), SystemExit(1), EventLogError("f", wanted="w", way_out="o")]
)
def test_a_listener_that_fails_is_told_once_and_the_others_hear_on(tmp_path, caplog, error):
    path, heard = tmp_path / "events.jsonl", []
    log = EventLog(path)
    log.listeners += [failing(error), heard.append]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.emit("step")
    log.close()
    kinds = ["step", "listener_failed", "step", "step"]
    assert [event["event"] for event in heard] == kinds
    assert [event["event"] for event in read_events(path)] == kinds
    assert type(error).__name__ in heard[1]["message"]
    assert [record.getMessage() for record in caplog.records] == [heard[1]["message"]]


def test_a_closed_pipe_behind_a_listeners_exit_is_named(caplog):
    def listener(event):
        try:
            raise BrokenPipeError("the reader left")
        except BrokenPipeError:
            sys.exit(1)

    log = EventLog()
    log.listeners.append(listener)
    log.emit("step")
    assert "BrokenPipeError: the reader left" in caplog.text


class OwnEndError(BaseException):
    """A listener's own, past every `except Exception`."""


class WordlessError(Exception):
    def __str__(self):
        raise ValueError("no words")


class Unlike:
    """A listener that answers no question about itself."""

    def __call__(self, event):
        raise KeyError("x")

    def __eq__(self, other):
        raise ValueError("not comparable")

    def __getattr__(self, name):
        raise ValueError("no attributes")

    __hash__ = None


@pytest.mark.parametrize(
    "listener",
    [
        failing(OwnEndError()),
        failing(asyncio.CancelledError()),
        failing(GeneratorExit()),
        failing(WordlessError()),
        Unlike(),
    ],
    ids=["a BaseException", "CancelledError", "GeneratorExit", "no words", "not comparable"],
)
def test_no_failure_of_a_listener_reaches_the_run(caplog, listener):
    heard, log = [], EventLog()
    log.listeners += [heard.append, listener]
    for _ in range(2):
        log.emit("step")
    assert [event["event"] for event in heard] == ["step", "listener_failed", "step"]


def test_what_a_listener_does_to_an_event_reaches_no_other():
    def clear(event):
        event["numbers"].clear()
        event.clear()

    heard, log = [], EventLog()
    log.listeners += [clear, heard.append]
    log.emit("step", numbers={"a": 1})
    assert heard[0]["event"] == "step"
    assert heard[0]["numbers"] == {"a": 1}


def test_a_listener_cannot_be_a_way_around_an_interrupt():
    log = EventLog()
    log.listeners.append(failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        log.emit("step")


def test_a_listener_that_fails_when_it_is_closed_is_told(caplog):
    class Writer:
        def __call__(self, event):
            pass

        def close(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    heard, log, writer = [], EventLog(), Writer()
    log.listeners += [heard.append, writer]
    log.close_listener(writer)
    assert [event["listener"] for event in heard] == ["Writer"]
    assert "No space left" in caplog.text
    assert log.listeners == [heard.append]


def test_numbers_that_json_does_not_know_become_text(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("step", loss=float("nan"), scales=[float("inf"), 1.0])
    log.close()
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert (event["loss"], event["scales"]) == ("nan", ["inf", 1.0])


def test_listeners_hear_what_is_written_also_without_a_file():
    heard = []
    log = EventLog()
    log.listeners.append(heard.append)
    log.emit("step", step=4)
    assert (heard[0]["event"], heard[0]["step"]) == ("step", 4)


def test_a_full_disk_is_told_with_the_way_out_and_no_listener_hears_what_is_not_in_the_file(tmp_path):
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    heard = []
    log = EventLog(tmp_path / "events.jsonl")
    log.listeners.append(heard.append)
    for _ in range(2):
        with pytest.raises(EventLogError, match=r"events\.jsonl: No space left") as failure:
            log.emit("step", step=1)
    log.close()
    assert heard == []
    assert "resumes from the newest checkpoint" in failure.value.way_out


def test_a_log_that_cannot_be_opened_is_told_with_the_way_out(tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(EventLogError, match=os.strerror(errno.EISDIR)):
        EventLog(tmp_path / "events.jsonl")


class FullDisk(io.FileIO):
    """Takes a few bytes, then none, then all."""

    room = [10, 0]

    def write(self, line):
        if not self.room:
            return super().write(line)
        taken = super().write(line[: self.room.pop(0)])
        if taken == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return taken


def test_an_event_that_was_half_written_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("a")
    log.close()
    with FullDisk(path, "ab") as disk:
        monkeypatch.setattr(log, "_file", disk)
        with pytest.raises(EventLogError):
            log.emit("lost")
        log.emit("b")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_matrix_in_the_log_is_no_damage(tmp_path):
    events, told = EventLog(tmp_path / "events.jsonl"), []
    events.emit("matrix", domains=["prose"], num_tasks=1, bits_per_byte=[[8.0], [None]])
    events.close()
    (event,) = read_events(tmp_path / "events.jsonl", tell_damage=told.append)
    assert event["bits_per_byte"] == [[8.0], [None]]
    assert told == []
