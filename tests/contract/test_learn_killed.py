"""Killed by SIGKILL while it learns: the same words end with the weights of an uninterrupted lesson, or of none."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mambrane.core.events import read_events
from tests.contract.main_job import ROOT, environment, train_words, write_domains

SHORT = ("--num-tasks", "2", "--epochs", "2")
KILLED_LESSON = """
import os, signal, sys
import mambrane
run, text, min_gain, kind, number = sys.argv[1:]
seen = []
def kill(event):
    seen.extend([event] if event["event"] == kind else [])
    if kind and len(seen) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
learned = mambrane.learn(run, text, min_gain=float(min_gain), epochs=1, save_every=3, listeners=[kill])
sys.exit(learned.outcome.exit_code)
"""


def lesson(run: Path, texts: Path, min_gain: float, kind: str = "", number: int = 1) -> int:
    """Learn a text in a process that kills itself at the n-th event of a kind; returns its exit code."""
    words = [sys.executable, "-c", KILLED_LESSON, run, texts / "domain2.txt", min_gain, kind, number]
    process = subprocess.run(list(map(str, words)), check=False, env=environment(texts.parent / "cache"), cwd=ROOT)
    return process.returncode


def newest_state(run: Path) -> dict[str, bytes]:
    """Return weights, optimizer, memories and generators of the newest checkpoint, and its step."""
    newest = max(path for path in (run / "checkpoints").iterdir() if path.name[5:].isdigit())
    files = {path.name: path.read_bytes() for path in newest.iterdir()}
    state = {name: content for name, content in files.items() if not name.startswith(("runner", "manifest"))}
    return state | {"step": newest.name.encode()}


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    return write_domains(tmp_path_factory.mktemp("killed-lesson") / "texts")


@pytest.fixture(scope="module")
def made(texts) -> Path:
    """A finished run over two texts."""
    run = texts.parent / "run"
    words = train_words(texts, run, *SHORT)
    assert (
        subprocess.run(words, check=False, capture_output=True, env=environment(texts.parent / "cache")).returncode == 0
    )
    return run


@pytest.fixture(scope="module")
def straight(texts, made) -> dict[int, dict[str, bytes]]:
    """Weights after a lesson that nobody killed, by its exit code: kept, taken back."""
    ends = {}
    for min_gain, exit_code in ((0.0, 0), (5.0, 3)):
        run = texts.parent / f"straight-{exit_code}"
        shutil.copytree(made, run)
        assert lesson(run, texts, min_gain) == exit_code
        ends[exit_code] = newest_state(run)
    return ends


@pytest.mark.parametrize(
    ("min_gain", "exit_code", "kind", "number"),
    [
        (0.0, 0, "task_decided", 1),
        (5.0, 3, "task_decided", 1),
        pytest.param(0.0, 0, "task_started", 1, marks=pytest.mark.slow),
        pytest.param(5.0, 3, "checkpoint_removed", 2, marks=pytest.mark.slow),
        pytest.param(5.0, 3, "task_taken_back", 1, marks=pytest.mark.slow),
    ],
)
def test_a_lesson_killed_around_its_decision_ends_as_if_it_had_not_been(
    texts, made, straight, tmp_path, min_gain, exit_code, kind, number
):
    run = tmp_path / "run"
    shutil.copytree(made, run)
    assert lesson(run, texts, min_gain, kind, number) == -signal.SIGKILL
    assert sum(event["event"] == kind for event in read_events(run / "events.jsonl")) >= number
    assert lesson(run, texts, min_gain) == exit_code
    assert newest_state(run) == straight[exit_code]
    if exit_code == 3:
        assert newest_state(run) == newest_state(made)
