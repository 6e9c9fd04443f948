"""The event log survives a kill and never writes what JSON does not know."""

import json

from mambrane.core.events import EventLog, read_events


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
