"""What a session needs of a run's text, and the log that it writes to."""

from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog, read_events
from mambrane.data.tokenizer import read_tokenizer
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.place import read_place
from mambrane.training.session import known_stream, log_of, named_apart


def stream_of(run_folder, change=lambda text: text):
    """Return the stream of a finished run whose text hashes are changed in what the checkpoint says."""
    folder, config = RunFolder(run_folder), Run.open(run_folder).config
    place = read_place(folder, config, EventLog())
    place = place._replace(state={**place.state, "text": change(place.state["text"])})
    return known_stream(place, folder, config, read_tokenizer(folder.tokenizer_file), at_hand=[])


def test_a_finished_run_is_measured_on_its_own_copies_of_what_is_held_out(run_folder):
    stream = stream_of(run_folder)
    assert [domain.name for domain in stream.domains] == ["domain0", "domain1"]
    assert all(domain.is_measurable for domain in stream.domains)


def test_text_that_the_folder_does_not_know_is_refused_by_its_name(run_folder):
    with pytest.raises(UserError, match="the text of domain1 changed since the run was saved"):
        stream_of(run_folder, lambda text: {**text, "domain1": "0" * 32})


def test_domains_of_known_names_are_told_apart_by_a_number(run_folder):
    (domain, _) = Run.open(run_folder).domains
    letters = replace(domain, name="letters")
    apart = named_apart([letters, letters, replace(domain, name="notes")], ["letters"])
    assert [each.name for each in apart] == ["letters-2", "letters-3", "notes"]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_happened_before_the_log_was_open_stands_first_in_it_and_in_that_of_one_process_only(tmp_path, is_first):
    heard, folder = [], RunFolder(tmp_path)
    early = [{"time_s": 1.0, "event": "text_read", "domain": "a", "files": 1}]
    with log_of(folder, [heard.append], early, loggers=("none",), is_first=is_first) as events:
        events.emit("resumed", step=3)
    if not is_first:
        assert not folder.events_file.exists()
        assert heard == []
        return
    assert [event["event"] for event in read_events(folder.events_file)] == ["text_read", "resumed"]
    assert [event["event"] for event in heard] == ["resumed"]
