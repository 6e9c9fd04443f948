"""Kill lessons at random, learn again, and compare the state with that of lessons that nobody killed.

    python benchmarks/kill_and_learn.py [--kills 20] [--between 10] [--seed 0]

A small run with every switch on (tests/contract/main_job.py) learns a third text in a process that is sent SIGKILL; the
same call is then run to its end, and weights, optimizer, memories and generators must be the same bytes. Every second
lesson ends by being taken back, as its text cannot gain what is asked of it. So many kills as `--between` says fall
between the decision and the rename that commits it, each before a call of the file system that is drawn at random; the
others fall at any time of the lesson.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mambrane
from mambrane.app.cli import main as mambrane_command
from mambrane.core.events import Event, read_events
from tests.contract.main_job import train_words, write_domains

FILE_CALLS = {"open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate"}
MIN_GAINS = {0: 0.0, 3: 9.0}
"""What is asked of a lesson, by its exit code: kept, taken back."""

STARTS = multiprocessing.get_context("forkserver")
STARTS.set_forkserver_preload(["mambrane.app.cli", "mambrane.training.learn"])


class CallsBeforeCommit:
    """Counts calls of the file system between the decision about a task and the rename that commits it."""

    def __init__(self, last_call: int) -> None:
        self.last_call, self.num_calls = last_call, 0
        """The call before which the process kills itself (0: none), and how many there were."""
        self.is_open = False
        """Whether the decision has fallen and is not committed."""

    def on_event(self, event: Event) -> None:
        """Begin at the decision."""
        self.is_open = self.is_open or event["event"] == "task_decided"

    def on_audit(self, kind: str, arguments: tuple[Any, ...]) -> None:
        """Count a call that is about to be made."""
        if not self.is_open or kind not in FILE_CALLS:
            return
        self.num_calls += 1
        if self.num_calls == self.last_call:
            os.kill(os.getpid(), signal.SIGKILL)
        is_commit = kind == "os.rename" and Path(arguments[0]).name.startswith("step-") and ".tmp-" in str(arguments[0])
        self.is_open = not is_commit


def train(data: Path, run: Path) -> None:
    """Train the run over two texts."""
    with contextlib.redirect_stdout(io.StringIO()):
        sys.exit(mambrane_command(train_words(data, run, "--num-tasks", "2", "--epochs", "2")[2:]))


def learn(run: Path, text: Path, min_gain: float, last_call: int, count_file: Path) -> None:
    """Learn a text; leaves with the exit code of `mambrane learn`."""
    calls = CallsBeforeCommit(last_call)
    sys.addaudithook(calls.on_audit)
    learned = mambrane.learn(run, text, min_gain=min_gain, epochs=1, save_every=3, listeners=[calls.on_event])
    count_file.write_text(str(calls.num_calls))
    sys.exit(learned.outcome.exit_code)


def state_of(run: Path) -> dict[str, bytes]:
    """Return weights, optimizer, memories and generators of the newest checkpoint, and its step."""
    newest = max(path for path in (run / "checkpoints").iterdir() if path.name[5:].isdigit())
    files = {path.name: path.read_bytes() for path in newest.iterdir()}
    state = {name: content for name, content in files.items() if not name.startswith(("runner", "manifest"))}
    return state | {"step": newest.name.encode()}


class Straight(NamedTuple):
    """A lesson that nobody killed."""

    state: dict[str, bytes]
    seconds: float
    num_calls: int


class Laboratory:
    """A folder with the run, the texts, and a copy of the run that is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.copy = folder, folder / "made", folder / "run"
        self.texts = write_domains(folder / "texts")
        self.exit_code_of(train, self.texts, self.made)

    def exit_code_of(self, function: Callable[..., object], *arguments: object, after_s: float | None = None) -> int:
        """Run a function in a process of its own, killed after a time, and return its exit code."""
        process = STARTS.Process(target=function, args=arguments)
        process.start()
        process.join(after_s)
        process.kill()
        process.join()
        return process.exitcode

    def lesson(self, min_gain: float, last_call: int = 0, after_s: float | None = None) -> int:
        """Learn with the copy as it stands."""
        arguments = self.copy, self.texts / "domain2.txt", min_gain, last_call, self.folder / "calls"
        return self.exit_code_of(learn, *arguments, after_s=after_s)

    def new_copy(self) -> None:
        """Bring the copy back to the run that has learned nothing more."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.made, self.copy)

    def straight(self, exit_code: int) -> Straight:
        """Learn without a kill."""
        self.new_copy()
        started_s = time.perf_counter()
        assert self.lesson(MIN_GAINS[exit_code]) == exit_code
        seconds = time.perf_counter() - started_s
        return Straight(state_of(self.copy), seconds, int((self.folder / "calls").read_text()))

    def is_undecided(self) -> bool:
        """Return whether a decision fell that no checkpoint holds yet."""
        kinds = [event["event"] for event in read_events(self.copy / "events.jsonl")]
        return "task_decided" in kinds and "checkpoint_saved" not in kinds[kinds.index("task_decided") :]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a kill, and how many ended with the state of the lesson that nobody killed; 0 if all did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--between", type=int, default=10, help="kills between decision and commit")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    draw, num_same, num_between = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OMP_NUM_THREADS": "1", "MAMBRANE_CACHE": str(Path(folder, "cache"))}
        laboratory = Laboratory(Path(folder))
        straight = {exit_code: laboratory.straight(exit_code) for exit_code in MIN_GAINS}
        assert straight[3].state == state_of(laboratory.made), "taken back is not as before"
        assert straight[0].state != straight[3].state, "the lesson changed nothing"
        for number in range(options.kills):
            exit_code = tuple(MIN_GAINS)[number % 2]
            whole = straight[exit_code]
            ended = 0
            while ended != -signal.SIGKILL:
                laboratory.new_copy()
                if number < options.between:
                    when = {"last_call": draw.randint(1, whole.num_calls)}
                else:
                    when = {"after_s": draw.uniform(0, whole.seconds)}
                ended = laboratory.lesson(MIN_GAINS[exit_code], **when)
            # Before a drawn call it is by construction; the log may tell of an earlier save in between.
            is_between = number < options.between or laboratory.is_undecided()
            is_same = laboratory.lesson(MIN_GAINS[exit_code]) == exit_code
            is_same = is_same and state_of(laboratory.copy) == whole.state
            num_same, num_between = num_same + is_same, num_between + is_between
            place = f"call {when['last_call']} of {whole.num_calls}" if number < options.between else "at any time"
            words = f"{place}, {'between decision and commit' if is_between else 'elsewhere'}"
            end = {0: "kept", 3: "taken back"}[exit_code]
            print(f"kill {number + 1} ({words}; {end}): {'same state' if is_same else 'ANOTHER STATE'}", flush=True)
    print(f"{num_same} of {options.kills} ended with the state of a lesson that nobody killed; ", end="")
    print(f"{num_between} kills fell between decision and commit")
    return int(num_same != options.kills)


if __name__ == "__main__":
    sys.exit(main())
