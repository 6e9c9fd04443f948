"""What a run has said before its first step, read from the log of one that is finished."""

import torch

from mambrane.continual.stream import build_stream
from mambrane.core.events import EventLog
from mambrane.engine.ranks import ONE_RANK
from mambrane.engine.signals import StopRequest
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.announcements import announce
from mambrane.training.session import Session


def test_the_steps_and_tasks_that_are_announced_are_those_that_were_taken(run_folder):
    events = list(Run.open(run_folder).events())
    (started,) = [event for event in events if event["event"] == "run_started"]
    assert started["num_tasks"] == 2
    assert started["total_steps"] == sum(event["event"] == "step" for event in events)
    kinds = [event["event"] for event in events]
    assert kinds.index("run_started") < kinds.index("switches") < kinds.index("operations") < kinds.index("step")


def test_tasks_that_are_learned_count_with_the_steps_that_they_took(run_folder):
    run, heard, events = Run.open(run_folder), [], EventLog()
    events.listeners.append(heard.append)
    session = Session(
        folder=RunFolder(run_folder),
        events=events,
        stop=StopRequest(events),
        device=torch.device("cpu"),
        ranks=ONE_RANK,
    )
    stream = build_stream(run.domains, run.config.continual, run.config.run.epochs)
    announce(session, run.config, stream, run.model, steps_taken=[1_000_000], from_outside=[], warnings=["look here"])
    started = next(event for event in heard if event["event"] == "run_started")
    assert 1_000_000 < started["total_steps"] < 1_001_000
    assert "look here" in [event.get("message") for event in heard if event["event"] == "warning"]
