"""What a report is made from: all that the run left, and a sentence for each part that cannot be read."""

import json

from mambrane.core.events import EventLog
from mambrane.report.data import read_report_data


def write(folder):
    (folder / "config.json").write_text(json.dumps({"model": {"hidden_dim": 16}}))
    split = {"content_hash": "0", "num_bytes": 1, "num_documents": 1}
    domain = {"name": "python", "content_hash": "0", "train": split, "heldout": split}
    (folder / "domains.json").write_text(json.dumps([domain]))
    events = EventLog(folder / "events.jsonl")
    events.emit("run_started", num_tasks=1, parameters=10)
    events.close()


def test_what_is_not_there_is_none_and_no_damage(tmp_path):
    write(tmp_path)
    data = read_report_data(tmp_path)
    assert data.title == tmp_path.name
    assert data.config == {"model": {"hidden_dim": 16}}
    assert data.history.run_start["parameters"] == 10
    assert (data.matrix, data.damages, data.samples) == (None, (), ())


def test_each_damage_is_told_once_and_stands_in_the_data(tmp_path):
    write(tmp_path)
    (tmp_path / "matrix.json").write_text("{")
    log = (tmp_path / "events.jsonl").read_text()
    (tmp_path / "events.jsonl").write_text("no event\n" + log)
    told = []
    data = read_report_data(tmp_path, tell_damage=told.append)
    assert tuple(told) == data.damages
    assert len(told) == 2
    assert "events.jsonl" in told[0]
    assert "matrix.json" in told[1]
    assert data.matrix is None
    assert data.history.run_start["parameters"] == 10
