"""The log that a session writes to, and what it is told to stop by."""

import os
import signal

import pytest
import torch

from mambrane.core.events import read_events
from mambrane.engine.ranks import ONE_RANK
from mambrane.storage.run_folder import RunFolder
from mambrane.training.session import log_of, open_session


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


def test_a_session_hears_a_signal_that_asks_to_stop_and_gives_back_the_handler(tmp_path):
    before, device = signal.getsignal(signal.SIGTERM), torch.device("cpu")
    with open_session(RunFolder(tmp_path), (), loggers=("none",), device=device, ranks=ONE_RANK) as session:
        os.kill(os.getpid(), signal.SIGTERM)
        assert session.stop.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
