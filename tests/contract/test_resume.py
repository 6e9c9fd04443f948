"""Killed, stopped, interrupted: the same command goes on, and the weights end byte for byte the same.

What begins a run, or is killed, is a process; what follows runs in this one, which spares it the start.
"""

import json
import os
import shutil
import signal
import subprocess

import pytest

from mambrane.app.cli import main
from mambrane.core.events import read_events
from mambrane.storage.run_folder import RunFolder
from tests.contract.main_job import environment, newest_weights, train, train_words, write_domains


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("main-job") / "texts")


@pytest.fixture(scope="module")
def straight(data):
    """A run that nothing interrupts, across four task boundaries."""
    output = data.parent / "straight"
    result = train(data, output)
    assert result.returncode == 0, result.stderr
    return output


@pytest.fixture
def train_here(data, monkeypatch):
    """The command in this process; it returns the exit code."""
    monkeypatch.setenv("MAMBRANE_CACHE", str(data.parent / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    return lambda data, output, *extra: main(train_words(data, output, *extra)[2:])


def start_and_signal(data, output, number, at_step):
    """Start the run, send it a signal when the log reaches a step, and return its exit code."""
    process = subprocess.Popen(
        train_words(data, output), env=environment(data.parent / "cache"), stdout=subprocess.PIPE, text=True
    )
    log = output / "events.jsonl"
    while process.poll() is None:
        steps = [e["step"] for e in read_events(log) if e["event"] == "step"] if log.exists() else []
        if steps and steps[-1] >= at_step:
            process.send_signal(number)
            break
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
    process.communicate()
    return process.returncode


def test_a_run_leaves_what_the_readme_says(straight):
    left = {path.name for path in straight.iterdir()}
    assert left >= {"config.json", "domains.json", "events.jsonl", "matrix.json", "tokenizer.json"}
    assert left >= {"tensorboard", "checkpoints"}
    domains = json.loads((straight / "domains.json").read_text())
    assert [domain["name"] for domain in domains] == [f"domain{number}" for number in range(5)]
    for domain in domains:
        assert {file["split"] for file in domain["files"]} == {"train", "heldout"}
        assert domain["train"]["num_bytes"] > domain["heldout"]["num_bytes"] > 0
    cells = json.loads((straight / "matrix.json").read_text())["bits_per_byte"]
    events = list(read_events(straight / "events.jsonl"))
    (total,) = (event["total_steps"] for event in events if event["event"] == "run_started")
    assert total == sum(event["event"] == "step" for event in events)
    assert len(cells) == 6
    assert all(isinstance(value, float) for row in cells for value in row)


@pytest.mark.parametrize("at_step", [2, 17, 30])
def test_a_killed_run_ends_with_the_same_weights(data, straight, tmp_path, train_here, at_step):
    output = tmp_path / "killed"
    assert start_and_signal(data, output, signal.SIGKILL, at_step) == -signal.SIGKILL
    assert train_here(data, output) == 0
    assert newest_weights(output) == newest_weights(straight)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_so_by_its_exit_code_and_goes_on(data, straight, tmp_path, train_here, capsys, number):
    output = tmp_path / "stopped"
    assert start_and_signal(data, output, number, 9) == 128 + number
    assert train_here(data, output) == 0
    assert "resumed after step" in capsys.readouterr().out
    assert newest_weights(output) == newest_weights(straight)


def test_max_steps_stops_there_and_the_rest_follows(data, straight, tmp_path, train_here):
    output = tmp_path / "limited"
    for limit in ("7", "26", "0"):
        assert train_here(data, output, "--max-steps", limit) == 0
    assert newest_weights(output) == newest_weights(straight)


def test_a_finished_run_has_nothing_left_to_do(data, straight, train_here):
    before = newest_weights(straight)
    assert train_here(data, straight) == 0
    assert newest_weights(straight) == before


def test_a_disk_without_room_for_the_log_is_told_without_a_traceback_and_the_run_goes_on(
    data, straight, tmp_path, train_here, capsys
):
    output = tmp_path / "full"
    log = output / "events.jsonl"
    output.mkdir()
    log.write_text('{"event": "long ago"}\n' * 100_000)
    result = train(data, output, largest_file=log.stat().st_size + 20_000)
    assert result.returncode == 2
    assert f"{log}: File too large" in result.stderr
    assert "run the same command again: it resumes from the newest checkpoint" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert train_here(data, output) == 0
    assert "resumed after step" in capsys.readouterr().out
    assert newest_weights(output) == newest_weights(straight)


def test_how_often_is_saved_and_how_much_is_kept_changes_no_bit(data, straight, tmp_path, train_here):
    output = tmp_path / "operational"
    assert train_here(data, output, "--max-steps", "7", "--save-every", "2") == 0
    assert train_here(data, output, "--save-every", "50", "--keep-checkpoints", "2") == 0
    assert newest_weights(output) == newest_weights(straight)


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        ("--learning-rate 0.5", "engine.learning_rate: 0.004 -> 0.5"),
        ("--batch-size 8", "data.batch_size: 4 -> 8"),
        ("--accumulation-steps 3", "engine.accumulation_steps: 2 -> 3"),
        ("--hidden-dim 64", "model.hidden_dim: 32 -> 64"),
        ("--data {other}", "the text of domain0, domain1, domain2, domain3, domain4 changed"),
        ("--seed 5", "run.seed: 0 -> 5"),
    ],
)
def test_a_changed_setting_is_refused_with_the_difference(data, straight, tmp_path, capsys, words, difference):
    if "{other}" in words:
        shutil.copytree(data, tmp_path / "other")
        for path in (tmp_path / "other").rglob("*.txt"):
            path.write_text(path.read_text() * 2)
        words = words.format(other=tmp_path / "other")
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*") if path.name != "run.lock"}
    assert main([*train_words(data, straight)[2:], *words.split()]) == 2
    assert difference in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in straight.rglob("*") if path.name != "run.lock"} == before


def test_two_runs_in_one_folder_are_refused(data, straight, capsys):
    with RunFolder(straight).lock():
        assert main(train_words(data, straight)[2:]) == 2
    assert f"is in use by process {os.getpid()}" in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_cannot_be_made_is_refused_with_the_way_out(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(train_words(data, tmp_path / "file" / "run")[2:]) == 2
    assert "way out" in capsys.readouterr().err


def edit_config(output, edit):
    """Change config.json as another version of the program would have written it."""
    config = json.loads((output / "config.json").read_text())
    edit(config)
    (output / "config.json").write_text(json.dumps(config))


def test_a_run_of_an_earlier_version_goes_on_and_says_which_settings_it_did_not_know(
    data, straight, tmp_path, train_here, capsys
):
    output = tmp_path / "earlier"
    shutil.copytree(straight, output)

    def forget(config):
        del config["engine"]["max_consecutive_skips"]
        del config["plasticity"]["stdp_bounds"]

    edit_config(output, forget)
    assert train_here(data, output) == 0
    assert "engine.max_consecutive_skips = 25, plasticity.stdp_bounds = hard" in capsys.readouterr().out
    (event,) = (e for e in read_events(output / "events.jsonl") if e["event"] == "settings_filled_in")
    assert event["settings"] == {"engine.max_consecutive_skips": 25, "plasticity.stdp_bounds": "hard"}
    assert "max_consecutive_skips" in json.loads((output / "config.json").read_text())["engine"]


def test_a_run_of_a_later_version_is_refused_with_the_name_of_what_is_not_known(
    data, straight, tmp_path, train_here, capsys
):
    output = tmp_path / "later"
    shutil.copytree(straight, output)
    edit_config(output, lambda config: config["engine"].update(lookahead=3))
    assert train_here(data, output) == 2
    assert "unknown setting engine.lookahead" in capsys.readouterr().err


def test_changed_text_is_refused_even_where_it_is_not_being_trained_on(data, tmp_path, train_here, capsys):
    own = tmp_path / "texts"
    shutil.copytree(data, own)
    output = tmp_path / "run"
    assert train_here(own, output, "--max-steps", "2") == 0
    (own / "domain4.txt").write_text("something else\n" * 200)
    assert train_here(own, output) == 2
    assert "the text of domain4 changed since the run was saved" in capsys.readouterr().err


def test_a_folder_is_not_claimed_by_a_run_whose_text_cannot_be_read(data, tmp_path, train_here, capsys):
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"caf\xe9")
    output = tmp_path / "run"
    assert train_here(broken, output, "--num-tasks", "1") == 2
    assert "not UTF-8" in capsys.readouterr().err
    assert train_here(data, output, "--max-steps", "1") == 0
