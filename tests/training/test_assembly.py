"""From a configuration to a runner."""

import pytest
import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.stream import build_stream
from mambrane.continual.terms import Terms
from mambrane.core.events import EventLog
from mambrane.engine.config import EngineConfig
from mambrane.engine.ranks import Ranks
from mambrane.run.build import build_task_kind
from mambrane.run.run import Run
from mambrane.settings.config import RunConfig
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.training.assembly import build_runner, steps_by_task, terms_of


def test_a_task_takes_the_steps_of_its_epochs(run_folder):
    domains = Run.open(run_folder).domains
    config = Run.open(run_folder).config
    stream = build_stream(domains, ContinualConfig(continual_learning=True, num_tasks=2), 5)
    kind = build_task_kind(config, torch.device("cpu"))
    batches = [kind.make_loader(task).num_batches for task in stream.tasks]
    by_one, by_three = (
        steps_by_task(RunConfig(data=config.data, engine=EngineConfig(accumulation_steps=number)), stream)
        for number in (1, 3)
    )
    assert [task.num_epochs for task in stream.tasks] == [3, 2]
    assert by_one == [3 * batches[0], 2 * batches[1]]
    assert by_three == [3 * -(-batches[0] // 3), 2 * -(-batches[1] // 3)]


@pytest.mark.parametrize(
    ("continual", "expected"),
    [
        ({}, Terms(max_forgetting=0.1, min_gain=0.2)),
        ({"continual_learning": False}, Terms()),
        ({"curriculum": "joint"}, Terms(min_gain=0.2)),
        ({"curriculum": "single-task"}, Terms()),
    ],
)
def test_limits_that_are_said_to_have_no_effect_have_none(continual, expected):
    settings = {"continual_learning": True, "num_tasks": 2, **continual, "max_forgetting": 0.1, "min_gain": 0.2}
    assert terms_of(RunConfig(continual=ContinualConfig(**settings))) == expected


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_one_alone_writes_what_is_read_without_a_checkpoint(run_folder, tmp_path, rank):
    run = Run.open(run_folder)
    folder = RunFolder(tmp_path)
    runner = build_runner(
        run.config,
        build_stream(run.domains, run.config.continual, run.config.run.epochs),
        run.model,
        folder,
        device=torch.device("cpu"),
        events=EventLog(),
        should_stop=lambda: False,
        saver=BackgroundSaver(Checkpoints(tmp_path, keep=2, events=EventLog())),
        ranks=Ranks(rank, 2),
    )
    assert (runner.storage.matrix_path, runner.storage.tasks_path) == (
        (folder.matrix_file, folder.tasks_file) if rank == 0 else (None, None)
    )
