"""Signals only set a flag, the third Ctrl-C excepted; handlers before it come back."""

import signal
import subprocess
import sys
import threading

import pytest

from mambrane.core.events import EventLog
from mambrane.engine.signals import WATCHED_SIGNALS, StopRequest
from mambrane.storage.checkpoint import Checkpoints

CHILD = """
import signal, sys
from mambrane.core.events import EventLog
from mambrane.engine.signals import StopRequest
try:
    with StopRequest(EventLog()) as stop:
        print("ready", flush=True)
        for line in sys.stdin:
            print("requested" if stop.requested else "not", stop.exit_code, flush=True)
            if line == "end\\n":
                break
    sys.exit(stop.exit_code)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(1)
"""


def start_child():
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdout.readline() == "ready\n"
    return child


def say(child, word):
    child.stdin.write(word + "\n")
    return child.stdout.readline()


@pytest.mark.parametrize("number", WATCHED_SIGNALS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_sets_the_flag_and_the_program_ends_where_it_wants(number, times):
    with start_child() as child:
        assert say(child, "go on") == "not 0\n"
        for _ in range(times):
            child.send_signal(number)
            assert say(child, "go on") == f"requested {128 + number}\n"
        assert say(child, "end") == f"requested {128 + number}\n"
        child.communicate(timeout=20)
        assert child.returncode == 128 + number


def test_the_third_interrupt_ends_the_program_at_once():
    with start_child() as child:
        for _ in range(2):
            child.send_signal(signal.SIGINT)
            assert say(child, "go on") == "requested 130\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        child.communicate(timeout=20)
        assert child.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_no_person_sends_never_ends_the_program_by_itself_however_often_it_comes(number):
    with start_child() as child:
        for _ in range(5):
            child.send_signal(number)
            assert say(child, "go on") == f"requested {128 + number}\n"
        child.send_signal(signal.SIGINT)
        assert say(child, "end") == f"requested {128 + number}\n"
        child.communicate(timeout=20)
        assert child.returncode == 128 + number


def test_a_hang_up_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(EventLog()) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SAVING_CHILD = """
import sys
from pathlib import Path
import torch
from mambrane.core.events import EventLog
from mambrane.storage.checkpoint import Checkpoints
from mambrane.engine.signals import StopRequest
checkpoints = Checkpoints(Path(sys.argv[1]), keep=2, events=EventLog())
with StopRequest(EventLog()) as stop:
    for step in range(1, 1_000_000):
        checkpoints.save(step, {"trainer": {"applied": step}}, weights={"model": {"weight": torch.ones(1000)}})
        print(step, flush=True)
        if stop.requested:
            break
sys.exit(stop.exit_code)
"""


@pytest.mark.parametrize("number", WATCHED_SIGNALS)
def test_a_signal_during_a_save_lets_that_save_finish(tmp_path, number):
    child = subprocess.Popen([sys.executable, "-c", SAVING_CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with child:
        steps = [int(child.stdout.readline()) for _ in range(20)]
        child.send_signal(number)
        steps += [int(line) for line in child.stdout]
    assert child.returncode == 128 + number
    assert steps == list(range(1, steps[-1] + 1))
    assert Checkpoints(tmp_path, keep=2, events=EventLog()).load_newest().parts["trainer"]["applied"] == steps[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in steps[-2:]]


def handlers():
    return [signal.getsignal(number) for number in WATCHED_SIGNALS]


def test_the_handlers_from_before_are_back_even_after_an_error():
    before = handlers()
    with StopRequest(EventLog()):
        assert all(new is not old for new, old in zip(handlers(), before, strict=True))
    assert handlers() == before
    with pytest.raises(ZeroDivisionError), StopRequest(EventLog()):
        _ = 1 / 0
    assert handlers() == before


def test_outside_the_main_thread_nothing_is_watched_and_the_log_says_so():
    events = []
    log = EventLog()
    log.listeners.append(events.append)
    before = signal.getsignal(signal.SIGTERM)

    def body():
        with StopRequest(log) as stop:
            assert signal.getsignal(signal.SIGTERM) is before
            assert not stop.requested

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert [event["event"] for event in events] == ["signals_not_watched"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_asked_by_the_program_counts_like_a_signal_and_the_first_one_stays():
    stop = StopRequest(EventLog())
    assert (stop.requested, stop.exit_code) == (False, 0)
    stop.request(signal.SIGTERM)
    stop.request(signal.SIGINT)
    assert (stop.requested, stop.signal_number, stop.exit_code) == (True, 15, 143)
