"""What a run cost, from what it left."""

import json

import pytest

from mambrane.studies.cost import PEAK_MEMORY_FILE, peak_memory_bytes, saved_peak_memory, seconds_of


def write_log(folder, *events):
    lines = (json.dumps({"time_s": time_s, "event": kind}) for time_s, kind in events)
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_the_time_between_two_sittings_does_not_count(tmp_path):
    write_log(
        tmp_path, (100.0, "run_started"), (130.0, "step"), (900.0, "run_started"), (905.0, "step"), (912.0, "stopped")
    )
    assert seconds_of(tmp_path) == 30.0 + 12.0


def test_without_a_log_or_a_start_nothing_is_known(tmp_path):
    assert seconds_of(tmp_path) is None
    write_log(tmp_path, (1.0, "step"))
    assert seconds_of(tmp_path) is None


def test_this_process_has_taken_at_least_what_it_holds():
    held = bytearray(1 << 20)
    peak = peak_memory_bytes()
    assert peak is None or peak > len(held)


@pytest.mark.parametrize(
    ("content", "found"),
    [('{"peak_memory_bytes": 5}', 5), ('{"peak_memory_bytes": "5"}', None), ("{", None), ("[]", None)],
)
def test_a_note_that_cannot_be_read_is_none(tmp_path, content, found):
    assert saved_peak_memory(tmp_path) is None
    (tmp_path / PEAK_MEMORY_FILE).write_text(content)
    assert saved_peak_memory(tmp_path) == found
