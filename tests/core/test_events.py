"""The event log survives a kill and never writes what JSON does not know."""

import errno
import json
import os

import pytest

from mambrane.core.events import EventLog, EventLogError, read_events


def test_events_come_back_in_order(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    for number in range(3):
        log.emit("window", step=number)
    log.close()
    assert [event["step"] for event in read_events(tmp_path / "events.jsonl")] == [0, 1, 2]


def test_a_torn_last_line_is_passed_over_and_the_next_event_stands_on_its_own(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "a"}\n{"event": "b", "st')
    log = EventLog(path)
    log.emit("c")
    log.close()
    assert [event["event"] for event in read_events(path)] == ["a", "c"]


def test_numbers_that_json_does_not_know_become_text(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("window", loss=float("nan"), scales=[float("inf"), 1.0])
    log.close()
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert (event["loss"], event["scales"]) == ("nan", ["inf", 1.0])


def test_listeners_hear_what_is_written_also_without_a_file():
    heard = []
    log = EventLog()
    log.listeners.append(heard.append)
    log.emit("window", step=4)
    assert (heard[0]["event"], heard[0]["step"]) == ("window", 4)


def test_a_full_disk_is_told_with_the_way_out_and_no_listener_hears_what_is_not_in_the_file(tmp_path):
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    heard = []
    log = EventLog(tmp_path / "events.jsonl")
    log.listeners.append(heard.append)
    for _ in range(2):
        with pytest.raises(EventLogError, match=r"events\.jsonl: No space left") as failure:
            log.emit("window", step=1)
    log.close()
    assert heard == []
    assert "resumes from the newest checkpoint" in failure.value.way_out


def test_a_log_that_cannot_be_opened_is_told_with_the_way_out(tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(EventLogError, match=os.strerror(errno.EISDIR)):
        EventLog(tmp_path / "events.jsonl")


def test_an_event_that_was_half_written_is_ended_before_the_next_one(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("a")
    disk, room = log._file, [10, 0]

    class FullDisk:
        """Takes a few bytes, then none, then all."""

        def write(self, line):
            if not room:
                return disk.write(line)
            taken = disk.write(line[: room.pop(0)])
            if taken == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return taken

    monkeypatch.setattr(log, "_file", FullDisk())
    with pytest.raises(EventLogError):
        log.emit("lost")
    log.emit("b")
    disk.close()
    assert [event["event"] for event in read_events(path)] == ["a", "b"]
    assert len(path.read_text().splitlines()) == 3
