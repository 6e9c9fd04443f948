"""What is needed of the text of a run that is gone on with."""

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.tokenizer import read_tokenizer
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.known_text import known_stream
from mambrane.training.place import read_place


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
