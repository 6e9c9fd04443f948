"""Going on with a run whose tasks are all learned."""

import shutil

import torch

from mambrane.engine.ranks import ONE_RANK
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder
from mambrane.training.continue_run import continue_run
from mambrane.training.place import read_place
from mambrane.training.session import open_session


def test_a_run_without_tasks_left_is_opened_and_takes_no_step(run_folder, tmp_path):
    folder, heard = RunFolder(shutil.copytree(run_folder, tmp_path / "run")), []
    run = Run.open(folder.path)
    device = torch.device("cpu")
    with open_session(folder, [heard.append], loggers=("none",), device=device, ranks=ONE_RANK) as session:
        place = read_place(folder, run.config, session.events)
        outcome = continue_run(session, run.config, run.tokenizer, [], place=place, warnings=["look here"])
    assert outcome.is_finished
    kinds = [event["event"] for event in heard]
    assert {"run_started", "resumed", "warning"} <= set(kinds)
    assert "step" not in kinds
    weights = Run.open(folder.path).model.state_dict()
    assert all(torch.equal(weight, run.model.state_dict()[name]) for name, weight in weights.items())
