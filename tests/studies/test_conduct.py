"""A study through real processes: killed and run again it goes on, and what is finished is not run again."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mambrane
from mambrane.app.cli import main
from mambrane.core.errors import TAKEN_BACK_EXIT_CODE, UserError
from mambrane.core.events import EventLog, read_events
from mambrane.storage.run_folder import InUseError, RunFolder
from mambrane.studies.conduct import has_result, plan_study
from mambrane.studies.files import study_of
from mambrane.studies.schedule import Ended
from tests.contract.main_job import environment, write_domains
from tests.studies.small import small_study, write_all_runs, write_run

WAIT_S = 240
STUDY = """
name = "two"
baseline = "naive"
[settings]
preset = "tiny"
data = "{data}"
num-tasks = 2
epochs = 4
hidden-dim = 16
num-layers = 1
spiking-units = 8
mamba-d-state = 4
sequence-length = 32
batch-size = 4
use-stdp = false
use-meta-plasticity = false
[arms.naive]
use-replay = false
[arms.replay]
"""


@pytest.fixture
def files(tmp_path):
    """The file of a study of two short runs, and its folder."""
    data = write_domains(tmp_path / "texts")
    (tmp_path / "two.toml").write_text(STUDY.format(data=data))
    return tmp_path / "two.toml", tmp_path / "out"


def command(file: Path, folder: Path) -> list[str]:
    return [sys.executable, "-m", "mambrane", "study", str(file), "--output-dir", str(folder), "--jobs", "1"]


def kinds(path: Path) -> list[str]:
    return [event["event"] for event in read_events(path)] if path.exists() else []


def wait_for(is_so, what):
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def is_free(folder: Path) -> bool:
    try:
        with RunFolder(folder).lock():
            return True
    except InUseError:
        return False


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_and_repeats_no_finished_run(files, tmp_path, monkeypatch, capsys):
    file, folder = files
    surroundings = environment(tmp_path / "cache")
    first = subprocess.Popen(command(file, folder), env=surroundings, stderr=subprocess.DEVNULL)
    second_run = folder / "runs" / "replay" / "seed-0-order-1"
    wait_for(lambda: "step" in kinds(second_run / "events.jsonl"), "the second run has begun")
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(lambda: is_free(second_run), "the run of the killed study has stopped by itself")
    assert "run_finished" not in kinds(second_run / "events.jsonl"), "it stopped before its end"
    with (folder / "runs.csv").open() as lines:
        averages = {row["arm"]: row["final_average"] for row in csv.DictReader(lines)}
    assert float(averages.pop("naive")) > 0
    assert averages == {"replay": ""}
    assert "1 of 2 runs are not finished." in (folder / "table.md").read_text()

    again = subprocess.run(command(file, folder), env=surroundings, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert kinds(folder / "runs" / "naive" / "seed-0-order-1" / "events.jsonl").count("run_started") == 1
    assert kinds(second_run / "events.jsonl").count("resumed") >= 1
    assert "1 of them finished" in again.stderr
    content = json.loads((folder / "table.json").read_text())
    assert all(run["is_finished"] and run["seconds"] > 0 and run["memory_bytes"] > 1e7 for run in content["runs"])
    assert "final average" in again.stdout

    monkeypatch.setenv("MAMBRANE_CACHE", surroundings["MAMBRANE_CACHE"])
    assert main(command(file, folder)[3:]) == 0
    assert "all 2 runs are finished" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_fails_is_told_with_its_reason_and_the_others_go_on(files, tmp_path, monkeypatch, capsys):
    file, folder = files
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    (folder / "runs" / "naive" / "seed-0-order-1" / "checkpoints" / "step-00000001").mkdir(parents=True)
    assert main(["study", str(file), "--output-dir", str(folder), "--jobs", "2"]) == 1
    told = capsys.readouterr()
    assert "has checkpoints and no config.json" in told.err
    assert "1 of 2 runs are not finished." in told.out
    assert (folder / "runs" / "replay" / "seed-0-order-1" / "matrix.json").exists()


@pytest.mark.parametrize(("exit_code", "expected"), [(0, True), (TAKEN_BACK_EXIT_CODE, True), (1, False), (143, False)])
def test_a_run_whose_task_was_taken_back_has_its_result(tmp_path, exit_code, expected):
    finished, other = small_study(seeds=1).cells(tmp_path)[:2]
    write_run(finished, [[8.0, 8.0], [2.0, 8.0], [3.0, 2.0]])
    assert has_result(Ended(finished, exit_code, "")) is expected
    assert not has_result(Ended(other, exit_code, "")), "it left no matrix"


@pytest.mark.parametrize("left", ["config.json", "checkpoints/step-00000001/model.safetensors"])
def test_the_folder_of_a_training_run_is_refused_and_left_as_it_was(tmp_path, left):
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="is the folder of a training run"):
        mambrane.study(small_study(), output_dir=tmp_path)
    with pytest.raises(UserError, match="is the folder of a training run"):
        plan_study(small_study(), tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_finished_is_shown_and_nothing_is_started(tmp_path, capsys):
    study = small_study()
    write_all_runs(study, tmp_path)
    plan = plan_study(study, tmp_path)
    assert (plan.to_do, plan.seconds) == ((), 0.0)


def test_warnings_reach_the_listeners(tmp_path):
    study = small_study(arms={"naive": {"replay-fraction": 0.25}}, seeds=1)
    heard, events = [], EventLog()
    events.listeners.append(heard.append)
    write_run(study.cells(tmp_path)[0], [[8.0, 8.0], [2.0, 8.0], [3.0, 2.0]])
    plan_study(study, tmp_path, events=events)
    assert [event["message"] for event in heard if event["event"] == "warning"] == study.warnings()


def test_a_second_process_is_kept_out_of_the_folder(tmp_path):
    study = study_of({"name": "x", "baseline": "a", "arms": {"a": {"preset": "tiny"}}}, source="x")
    with RunFolder(tmp_path / "out").lock(), pytest.raises(InUseError, match=f"process {os.getpid()}"):
        mambrane.study(study, output_dir=tmp_path / "out")
