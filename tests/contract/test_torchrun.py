"""The program under torchrun: the same run with any number of processes, through every fault of one of them."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import mambrane
from mambrane.app.cli import main
from tests.contract.main_job import SMALL_JOB, flags_of
from tests.contract.rank_faults import FAULTS
from tests.engine.test_ranks import TIMEOUT_S, torchrun
from tests.settings.whole_recipe import MAIN_SWITCHES

WORDS = [*flags_of(SMALL_JOB), *MAIN_SWITCHES.split()]
NEAR = {"rtol": 0.0, "atol": 2e-5}
"""Rounding of float32 sums over a dozen steps; a spike that flips would show as 1e-3."""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Two files of text, a task each."""
    folder = tmp_path_factory.mktemp("text")
    for name, words in {"numbers.txt": "one two three four", "colours.txt": "red green blue"}.items():
        lines = (f"{word} {number * 7919 % 1000}" for number in range(150) for word in words.split())
        (folder / name).write_text("\n".join(lines))
    return [str(folder / "numbers.txt"), str(folder / "colours.txt")]


def words_of(folder, text, *more):
    return ["train", *WORDS, "--data", *text, "--output-dir", str(folder), *more]


def train(num_processes, folder, text, *more, before=()):
    """Return the finished command, started by torchrun."""
    return torchrun(num_processes, *before, "-m", "mambrane", *words_of(folder, text, *more))


def require_success(num_processes, folder, text, *more):
    """Train to the end; one process alone is this one, without torchrun."""
    if num_processes == 1:
        assert main(words_of(folder, text, *more)) == 0
        return
    ended = train(num_processes, folder, text, *more)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def losses(folder):
    """Return the loss of every step; what came after the last checkpoint of a process that ended came twice."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    by_step = {event["step"]: event["loss"] for event in events if event["event"] == "step"}
    return [by_step[step] for step in sorted(by_step)]


def last_weights(folder):
    newest = max((folder / "checkpoints").iterdir())
    return {part: load_file(newest / f"{part}.safetensors") for part in ("model", "optimizer", "extensions")}


def matrix(folder):
    return json.loads((folder / "matrix.json").read_text())["bits_per_byte"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text):
    """The run with one, two and three processes."""
    folders = {size: tmp_path_factory.mktemp(f"ranks-{size}") / "run" for size in (1, 2, 3)}
    for size, folder in folders.items():
        require_success(size, folder, text)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_train_the_run_of_one(finished, size):
    """Five rows over two or three processes, two tasks, with replay by importance, EWC, distillation and plasticity."""
    alone, together = losses(finished[1]), losses(finished[size])
    assert len(alone) > 12
    torch.testing.assert_close(torch.tensor(together[:12]), torch.tensor(alone[:12]), **NEAR)
    for row, expected in zip(matrix(finished[size]), matrix(finished[1]), strict=True):
        assert row == pytest.approx(expected, abs=2e-2)


@pytest.mark.slow
def test_two_nodes_of_one_process_train_the_run_of_one_node_of_two(tmp_path, text, finished):
    """Two torchruns meet at a port of this machine, as those of two machines do; bit for bit."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    node = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
    words = [sys.executable, "-m", "torch.distributed.run", *node, "-m", "mambrane", *words_of(tmp_path / "run", text)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    logs = [(tmp_path / f"node-{number}.log").open("w+") for number in range(2)]
    nodes = [subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT) for log in logs]
    try:
        codes = [each.wait(timeout=TIMEOUT_S) for each in nodes]
        assert codes == [0, 0], [log.seek(0) or log.read() for log in logs]
    finally:
        for each in nodes:
            each.kill()
        for log in logs:
            log.close()
    found, expected = last_weights(tmp_path / "run"), last_weights(finished[2])
    assert all(torch.equal(found[part][name], expected[part][name]) for part in expected for name in expected[part])


class Failed(NamedTuple):
    """A run of two processes, started again after each fault of one of them until it came to its end."""

    faults: Path
    """Holds a file for each fault that there was."""
    run: Path
    ends: dict[str, subprocess.CompletedProcess]
    """What each command but the last ended in, by the fault that ended it."""
    stopped: Path
    """A copy of the run as it lay when one process had been told to stop."""

    @property
    def extension(self):
        return ["--extension", "tests.contract.rank_faults:Fail", f"folder={self.faults}"]


@pytest.fixture(scope="module")
def failed(tmp_path_factory, text):
    """The run through every fault, the first time under a torchrun that starts it again by itself."""
    folder = tmp_path_factory.mktemp("failed")
    failed = Failed(folder / "faults", folder / "run", {}, folder / "stopped")
    failed.faults.mkdir()
    more = [*failed.extension, "--rank-timeout-s", "20"]
    failed.ends["raise"] = train(2, failed.run, text, *more, before=["--max-restarts", "1"])
    failed.ends["drift"] = train(2, failed.run, text, *more)
    failed.ends["stop"] = train(2, failed.run, text, *more)
    shutil.copytree(failed.run, failed.stopped)
    failed.ends["hang"] = train(2, failed.run, text, *more)
    require_success(2, failed.run, text, *more)
    return failed


FOUND = {
    "raise": "a defect on one rank",
    "drift": "norm.weight differs between rank 0 and rank 1",
    "stop": "stopped",
    "hang": "rank 1 did not come",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FOUND)
def test_a_fault_of_one_process_ends_all_and_is_told(failed, how):
    assert failed.ends[how].returncode != 0
    assert FOUND[how] in failed.ends[how].stdout + failed.ends[how].stderr


@pytest.mark.slow
def test_torchrun_starts_a_killed_run_again_by_itself(failed):
    """The command that met the kill was ended by the fault after that."""
    told = failed.ends["raise"].stdout + failed.ends["raise"].stderr
    assert "exitcode: -9" in told
    assert told.index("exitcode: -9") < told.index("a defect on one rank")


@pytest.mark.slow
def test_the_same_command_goes_on_after_every_fault_to_the_same_weights(failed, finished):
    assert {path.name for path in failed.faults.iterdir()} == FAULTS.keys() == {"kill", *FOUND}
    found, expected = last_weights(failed.run), last_weights(finished[2])
    assert {part: set(found[part]) for part in found} == {part: set(expected[part]) for part in expected}
    assert all(torch.equal(found[part][name], expected[part][name]) for part in found for name in found[part])


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
def test_a_run_begun_by_two_processes_is_ended_by_one_and_by_three(failed, finished, text, tmp_path, size):
    shutil.copytree(failed.stopped, tmp_path / "run")
    require_success(size, tmp_path / "run", text, *failed.extension)
    assert f"num_processes 2 -> {size}" in (tmp_path / "run" / "events.jsonl").read_text()
    resumed, whole = losses(tmp_path / "run"), losses(finished[2])
    assert len(resumed) == len(whole)
    torch.testing.assert_close(torch.tensor(resumed[:12]), torch.tensor(whole[:12]), **NEAR)


PIECES = ["--distillation-strength", "0", "--regularizer", "isi-cv", "--reptile-strength", "0.1"]
"""Beside the small job's own: what may stand beside --shard."""
BETWEEN = ["--max-steps", "10"]
"""Where a run goes over from one way to the other: in its second task."""


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory, text):
    """The job that may lie in pieces: whole, begun in pieces and ended by one process, and the reverse."""
    folder = tmp_path_factory.mktemp("pieces")
    folders = {name: folder / name for name in ("whole", "begun", "ended")}
    require_success(1, folders["whole"], text, *PIECES)
    ended = train(2, folders["begun"], text, *PIECES, "--shard", *BETWEEN)
    assert "--max-steps 10 reached" in ended.stdout + ended.stderr
    require_success(1, folders["begun"], text, *PIECES)
    main(words_of(folders["ended"], text, *PIECES, *BETWEEN))
    require_success(2, folders["ended"], text, *PIECES, "--shard")
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("way", ["begun", "ended"])
def test_a_run_in_pieces_is_the_run_of_one_process_before_and_after(in_pieces, way):
    """Weights lie in pieces until, or from, the middle of the second task; every method that may is on."""
    found, expected = losses(in_pieces[way]), losses(in_pieces["whole"])
    assert len(found) == len(expected) > 12
    torch.testing.assert_close(torch.tensor(found[:12]), torch.tensor(expected[:12]), **NEAR)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0.0, atol=1e-2)
    for row, of_whole in zip(matrix(in_pieces[way]), matrix(in_pieces["whole"]), strict=True):
        assert row == pytest.approx(of_whole, abs=2e-2)
    parts, wholes = last_weights(in_pieces[way]), last_weights(in_pieces["whole"])
    shapes = [{name: each.shape for part in saved.values() for name, each in part.items()} for saved in (parts, wholes)]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_take_back_bit_for_bit(tmp_path, text, finished):
    """One start of torchrun teaches two runs that one process has trained: what it decides, all processes do."""
    third = tmp_path / "days.txt"
    lines = (f"{day} {number * 7919 % 1000}" for number in range(150) for day in ("mon", "tue", "sun"))
    third.write_text("\n".join(lines))
    for name in ("alone", "taken-back", "kept"):
        shutil.copytree(finished[1], tmp_path / name)
    before = last_weights(tmp_path / "alone")
    folders = map(str, (tmp_path / "taken-back", tmp_path / "kept", third))
    ended = torchrun(2, "-m", "tests.contract.learning_ranks", *folders)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [ended.stdout.count(f"exit code {code}") for code in (3, 0)] == [2, 2]
    after = last_weights(tmp_path / "taken-back")
    assert all(torch.equal(after[part][name], before[part][name]) for part in before for name in before[part])

    mambrane.learn(tmp_path / "alone", third, epochs=1)
    alone, together = losses(tmp_path / "alone"), losses(tmp_path / "kept")
    assert len(alone) == len(together) > len(losses(finished[1]))
    torch.testing.assert_close(torch.tensor(together), torch.tensor(alone), rtol=0.0, atol=1e-2)
    for row, expected in zip(matrix(tmp_path / "kept"), matrix(tmp_path / "alone"), strict=True):
        assert row == pytest.approx(expected, abs=2e-2)
    # The log has one writer.
    decisions = [line for line in (tmp_path / "kept" / "events.jsonl").read_text().splitlines() if "decided" in line]
    assert len(decisions) == 1
