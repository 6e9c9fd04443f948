"""The console is not the run: closed, full and broken streams never change it, and no command shows a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mambrane.core.events import read_events
from tests.contract.main_job import ROOT, environment, write_domains

SCRIPT = [sys.executable, str(ROOT / "scripts" / "cli.py")]
SIZE = (
    "--preset tiny --tokenizer bytes --epochs 1 --no-continual-learning --hidden-dim 16 --num-layers 1 "
    "--spiking-units 8 --sequence-length 32 --batch-size 4 --max-steps 12 --save-every 5 "
    "--use-stdp"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    write_domains(folder / "texts")
    return folder


def start(place, *words, closed=(), **options):
    """Start a command; `closed` are the numbers of streams that it starts without."""
    return subprocess.Popen(
        [*SCRIPT, *words],
        env=environment(place / "cache"),
        cwd=place,
        preexec_fn=lambda: [os.close(number) for number in closed],
        **options,
    )


def train_words(output):
    return ["train", *SIZE.split(), "--data", "texts", "--output-dir", str(output)]


# Each of these trains in a process of its own.
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def straight(place):
    """The weights of a run that nothing disturbs."""
    with start(place, *train_words("straight"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        assert (run.communicate()[1], run.returncode) == (b"", 0)
    return weights(place / "straight")


def weights(run: Path) -> bytes:
    return (max((run / "checkpoints").iterdir()) / "model.safetensors").read_bytes()


@slow
def test_training_goes_on_when_the_reader_of_its_output_leaves(place, straight):
    with start(place, *train_words("left"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.readline()
        run.stdout.close()
        told = run.stderr.read().decode()
    assert run.returncode == 0
    assert weights(place / "left") == straight
    assert told.count("ConsoleListener failed") == 1
    assert "BrokenPipeError" in told
    assert "Traceback" not in told
    kinds = [event["event"] for event in read_events(place / "left" / "events.jsonl")]
    assert kinds.count("listener_failed") == 1
    assert "stopped" in kinds


@slow
def test_training_goes_on_where_its_output_is_full(place, straight):
    with (
        Path("/dev/full").open("wb") as full,
        start(place, *train_words("full"), stdout=full, stderr=subprocess.PIPE) as run,
    ):
        told = run.stderr.read().decode()
    assert run.returncode == 0
    assert weights(place / "full") == straight
    assert "No space left" in told
    assert "Traceback" not in told


@slow
@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_training_goes_on_without_streams_and_nothing_lands_in_its_files(place, straight, closed):
    output = f"closed{len(closed)}"
    with start(place, *train_words(output), closed=closed) as run:
        assert run.wait() == 0
    assert weights(place / output) == straight
    told = []
    assert list(read_events(place / output / "events.jsonl", tell_damage=told.append))
    assert told == []


@slow
def test_a_hang_up_saves_and_the_run_can_be_resumed(place):
    words = [word for word in train_words("hung") if word not in ("--max-steps", "12")]
    with start(place, *words, stdout=subprocess.PIPE) as run:
        for line in run.stdout:
            if b" starts:" in line:
                run.send_signal(signal.SIGHUP)
                break
        run.stdout.read()
    assert run.returncode == 128 + signal.SIGHUP
    kinds = [event["event"] for event in read_events(place / "hung" / "events.jsonl")]
    assert kinds[-1] in ("stopped", "checkpoint_saved")
    assert "checkpoint_saved" in kinds


ANSWERS = {
    "evaluate": ["evaluate", "straight"],
    "generate": ["generate", "straight", "--max-tokens", "20"],
    "info": ["info", "straight"],
    "help": ["--help"],
    "train help": ["train", "--help"],
}


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.usefixtures("straight")
def test_a_reader_that_leaves_at_once_is_no_error(place, words):
    # Compilation is announced on standard error, once.
    with start(place, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        assert run.wait() == 0
    with start(place, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 0


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", [ANSWERS["info"], ANSWERS["help"]], ids=["info", "help"])
@pytest.mark.usefixtures("straight")
def test_an_answer_that_does_not_fit_is_an_error_in_one_line(place, words, unbuffered):
    env = environment(place / "cache") | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {})
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([*SCRIPT, *words], env=env, cwd=place, stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode != 0
    assert b"No space left" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["--help"], ["nonsense"]], ids=["help", "error"])
def test_a_closed_or_full_standard_error_changes_no_exit_code(place, words):
    expected = 0 if words == ["--help"] else 2
    with start(place, *words, closed=(2,), stdout=subprocess.DEVNULL) as run:
        assert run.wait() == expected
    with Path("/dev/full").open("wb") as full, start(place, *words, stdout=subprocess.DEVNULL, stderr=full) as run:
        assert run.wait() == expected


INTERRUPTED_AT = """
import signal, sys
import mambrane.__main__ as program

module = sys.argv[1]

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["mambrane", "train", "--preset", "tiny", "--dry-run"]
sys.exit(program.main())
"""


@pytest.mark.parametrize("module", ["tyro", "mambrane.app.cli", "mambrane.app.train", "torch", "numba"])
def test_an_interrupt_during_any_import_is_quiet(module):
    words = [sys.executable, "-c", INTERRUPTED_AT, module]
    result = subprocess.run(words, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"interrupted\n")


def test_an_ignored_interrupt_stays_ignored():
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED_AT.replace(
        '["mambrane", "train", "--preset", "tiny", "--dry-run"]', '["mambrane", "--version"]'
    )
    result = subprocess.run([sys.executable, "-c", code, "tyro"], capture_output=True, check=False)
    assert result.returncode == 0
