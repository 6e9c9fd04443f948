"""The program under torchrun: the same run with any number of processes, through every fault of one of them."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import mambrane
from mambrane.app.cli import main
from tests.engine.test_ranks import torchrun

SETTINGS = {
    "preset": "tiny",
    "epochs": 2,
    "num-tasks": 2,
    "hidden-dim": 32,
    "num-layers": 1,
    "spiking-units": 16,
    "num-gate-heads": 4,
    "cross-attn-heads": 4,
    "sequence-length": 32,
    "batch-size": 5,
    "accumulation-steps": 2,
    "save-every": 4,
    "replay-buffer-size": 16,
    "replay-strategy": "importance",
    "regularizer-strength": 1,
    "fisher-sequences": 4,
    "distillation-strength": 1,
    "device": "cpu",
}
WORDS = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
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


def train(num_processes, folder, text, *more, before=()):
    """Return the finished command."""
    words = ["train", *WORDS, "--data", *text, "--output-dir", str(folder), *more]
    return torchrun(num_processes, *before, "-m", "mambrane", *words)


def losses(folder):
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if event["event"] == "step"]


def last_weights(folder):
    newest = max((folder / "checkpoints").iterdir())
    return {part: load_file(newest / f"{part}.safetensors") for part in ("model", "optimizer", "extensions")}


def matrix(folder):
    return json.loads((folder / "matrix.json").read_text())["bits_per_byte"]


def require_success(ended):
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text):
    """The run with one, two and three processes."""
    folders = {size: tmp_path_factory.mktemp(f"ranks-{size}") / "run" for size in (1, 2, 3)}
    for size, folder in folders.items():
        require_success(train(size, folder, text))
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
def test_a_run_begun_by_two_processes_is_ended_by_one_and_by_three(tmp_path, text, finished):
    require_success(train(2, tmp_path / "run", text, "--max-steps", "6"))
    for size in (1, 3):
        shutil.copytree(tmp_path / "run", tmp_path / str(size))
        ended = train(size, tmp_path / str(size), text)
        require_success(ended)
        assert f"num_processes 2 -> {size}" in (tmp_path / str(size) / "events.jsonl").read_text()
        resumed, whole = losses(tmp_path / str(size)), losses(finished[2])
        assert len(resumed) == len(whole)
        torch.testing.assert_close(torch.tensor(resumed[:12]), torch.tensor(whole[:12]), **NEAR)


def failing(tmp_path, how):
    return ["--extension", "tests.contract.rank_faults:Fail", f"file={tmp_path / 'failed'}", f"how={how}"]


@pytest.fixture(scope="module")
def with_faulty_extension(tmp_path_factory, text):
    """Last weights of the run with the extension that, this time, does not fail."""
    folder = tmp_path_factory.mktemp("faultless")
    (folder / "failed").touch()
    require_success(train(2, folder / "run", text, *failing(folder, "kill")))
    return last_weights(folder / "run")


def assert_same_bits(found, expected):
    assert {part: set(found[part]) for part in found} == {part: set(expected[part]) for part in expected}
    assert all(torch.equal(found[part][name], expected[part][name]) for part in found for name in found[part])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("kill", ""),
        ("raise", "a defect on one rank"),
        ("stop", "stopped"),
        ("hang", "rank 1 did not come"),
        ("drift", "norm.weight differs between rank 0 and rank 1"),
    ],
)
def test_a_fault_of_one_process_ends_all_and_the_same_command_goes_on(
    tmp_path, text, with_faulty_extension, how, words
):
    command = (2, tmp_path / "run", text, *failing(tmp_path, how), "--rank-timeout-s", "20")
    ended = train(*command)
    assert ended.returncode != 0
    assert words in ended.stdout + ended.stderr
    require_success(train(*command))
    assert_same_bits(last_weights(tmp_path / "run"), with_faulty_extension)


@pytest.mark.slow
def test_torchrun_starts_a_killed_run_again_by_itself(tmp_path, text, with_faulty_extension):
    before = ["--max-restarts", "1"]
    require_success(train(2, tmp_path / "run", text, *failing(tmp_path, "kill"), before=before))
    assert (tmp_path / "failed").exists()
    assert_same_bits(last_weights(tmp_path / "run"), with_faulty_extension)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_take_back_bit_for_bit(tmp_path, text):
    """One start of torchrun teaches two runs that one process has trained: what it decides, all processes do."""
    third = tmp_path / "days.txt"
    third.write_text(
        "\n".join(f"{day} {number * 7919 % 1000}" for number in range(150) for day in ("mon", "tue", "sun"))
    )
    assert main(["train", *WORDS, "--data", *text, "--output-dir", str(tmp_path / "alone")]) == 0
    for name in ("taken-back", "kept"):
        shutil.copytree(tmp_path / "alone", tmp_path / name)
    before = last_weights(tmp_path / "alone")
    folders = map(str, (tmp_path / "taken-back", tmp_path / "kept", third))
    ended = torchrun(2, "-m", "tests.contract.learning_ranks", *folders)
    require_success(ended)
    assert sorted(ended.stdout.split("\n"))[-4:] == ["exit code 0"] * 2 + ["exit code 3"] * 2
    assert_same_bits(last_weights(tmp_path / "taken-back"), before)

    mambrane.learn(tmp_path / "alone", third)
    alone, together = losses(tmp_path / "alone"), losses(tmp_path / "kept")
    assert len(alone) == len(together)
    torch.testing.assert_close(torch.tensor(together), torch.tensor(alone), rtol=0.0, atol=1e-3)
    for row, expected in zip(matrix(tmp_path / "kept"), matrix(tmp_path / "alone"), strict=True):
        assert row == pytest.approx(expected, abs=2e-2)
