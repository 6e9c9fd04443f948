"""Which run it is: its settings and the content of its text, not the place of the text."""

import json
from dataclasses import replace

import pytest
import torch

from mambrane.app.cli import main
from mambrane.core.device import describe_environment
from mambrane.core.events import read_events
from mambrane.engine.config import EngineConfig
from mambrane.settings.config import RunConfig, RunOptions, fingerprint
from mambrane.settings.effects import warnings_of_machine
from mambrane.settings.shown_switches import on_and_off
from mambrane.training import announcements
from mambrane.training.timing import ExpectedTime
from tests.contract.main_job import newest_weights, train_words, write_domains

SHORT = ("--num-tasks", "2", "--epochs", "2")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))


def train(data, output, *extra):
    return main(train_words(data, output, *SHORT, *extra)[2:])


def test_measuring_the_time_at_the_start_changes_no_bit(tmp_path, monkeypatch):
    """With dropout: what is drawn for the measurement must not be missing later."""
    write_domains(tmp_path / "texts")
    words = ("--dropout", "0.3", "--max-steps", "3")
    assert train(tmp_path / "texts", tmp_path / "measured", *words) == 0
    monkeypatch.setattr(announcements, "expected_time_now", lambda *_: ExpectedTime(1.0, 0.0))
    assert train(tmp_path / "texts", tmp_path / "not", *words) == 0
    assert newest_weights(tmp_path / "measured") == newest_weights(tmp_path / "not")


def test_text_that_was_moved_and_renamed_resumes_bit_for_bit(tmp_path):
    data = write_domains(tmp_path / "texts")
    assert train(data, tmp_path / "straight", "--max-steps", "4") == 0
    assert train(data, tmp_path / "run", "--max-steps", "2") == 0
    moved = tmp_path / "else" / "where"
    moved.parent.mkdir()
    data.rename(moved)
    (moved / "domain0.txt").rename(moved / "another [name].txt")
    assert train(moved, tmp_path / "run", "--max-steps", "4") == 0
    assert newest_weights(tmp_path / "run") == newest_weights(tmp_path / "straight")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["data"] == [str(moved)]


@pytest.mark.parametrize("pattern", ["tokens/*/tokens.bin", "texts/*/text.bin"])
def test_a_resumed_run_does_not_learn_from_a_damaged_cache(tmp_path, capsys, pattern):
    data = write_domains(tmp_path / "texts")
    assert train(data, tmp_path / "straight", "--max-steps", "4") == 0
    assert train(data, tmp_path / "run", "--max-steps", "2") == 0
    capsys.readouterr()
    damaged = list((tmp_path / "cache").glob(pattern))
    for file in damaged:
        file.write_bytes(bytes(file.stat().st_size))
    assert train(data, tmp_path / "run", "--max-steps", "4") == 0
    assert newest_weights(tmp_path / "run") == newest_weights(tmp_path / "straight")
    assert capsys.readouterr().out.count("is damaged and made again") == len(damaged) > 0


def test_names_in_brackets_are_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    data = write_domains(tmp_path / "texts")
    (data / "domain0.txt").rename(data / "a [bold] :smile: one.txt")
    monkeypatch.chdir(tmp_path)
    run = "[red]"
    assert train(data, run, "--max-steps", "2") == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["info", str(run)]) == 0
    told = capsys.readouterr().out
    evaluation = told.split("held-out bytes")[1]
    assert "a [bold] :smile: one" in evaluation
    assert told.count("[red] after") == 2
    assert train(data, run, "--hidden-dim", "48") == 2
    assert "[red] holds a run of another configuration" in capsys.readouterr().err


def test_a_relative_path_resumes_from_another_folder(tmp_path, monkeypatch):
    write_domains(tmp_path / "texts")
    monkeypatch.chdir(tmp_path)
    assert train("texts", tmp_path / "run", "--max-steps", "2") == 0
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert train("../texts", tmp_path / "run", "--max-steps", "3") == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0


def test_other_text_in_the_same_place_is_refused(tmp_path, capsys):
    data = write_domains(tmp_path / "texts")
    assert train(data, tmp_path / "run", "--max-steps", "2") == 0
    (data / "domain1.txt").write_text("other words\n" * 300)
    assert train(data, tmp_path / "run") == 2
    assert "the text of domain1 changed since the run was saved" in capsys.readouterr().err


def test_what_is_said_of_the_text_is_in_the_log_of_the_run(tmp_path):
    data = write_domains(tmp_path / "texts")
    (data / "picture.png").touch()
    assert train(data, tmp_path / "run", "--max-steps", "2") == 0
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("file_skipped") == 1
    assert [event["event"] for event in events].count("text_read") == 2


def config_with(*locations, output_dir=""):
    config = RunConfig(run=RunOptions(output_dir=output_dir))
    return replace(config, data=replace(config.data, data=locations))


def test_the_name_of_a_run_follows_from_the_content_of_its_text():
    here, there = config_with("texts"), config_with("/mnt/disk/books")
    assert fingerprint(here) == fingerprint(there)
    assert here.folder_for(["a", "b"]) == there.folder_for(["a", "b"])
    assert len({here.folder_for(hashes) for hashes in (["a", "b"], ["a"], ["b", "a"])}) == 3
    assert str(config_with("texts", output_dir="mine").folder_for(["a"])) == "mine"


def test_text_that_has_a_name_is_known_by_that():
    assert config_with("builtin").folder_for(["a"]) == config_with("builtin").folder == RunConfig().folder
    assert config_with("hf:owner/stories").folder != config_with("hf:owner/poems").folder


def test_a_run_saved_under_the_earlier_names_of_settings_resumes(tmp_path):
    data, run = write_domains(tmp_path / "texts"), tmp_path / "run"
    assert train(data, tmp_path / "straight", "--max-steps", "4") == 0
    assert train(data, run, "--max-steps", "2") == 0
    settings = run / "config.json"
    saved = json.loads(settings.read_text())
    saved["run"]["max_windows"] = saved["run"].pop("max_steps")
    for present in ("regularizer_strength", "regularizer_decay"):
        saved["continual"][present.replace("regularizer", "consolidation")] = saved["continual"].pop(present)
    saved["continual"]["consolidation_method"] = saved["continual"].pop("regularizer")
    settings.write_text(json.dumps(saved))
    assert train(data, run, "--max-steps", "4") == 0
    assert newest_weights(run) == newest_weights(tmp_path / "straight")
    assert json.loads(settings.read_text())["run"]["max_steps"] == 4


def test_every_line_that_a_run_writes_into_its_log_can_be_read(tmp_path):
    data, run, damages = write_domains(tmp_path / "texts"), tmp_path / "run", []
    assert train(data, run, "--max-steps", "2") == 0
    events = list(read_events(run / "events.jsonl", tell_damage=damages.append))
    assert damages == []
    (start,) = (event for event in events if event["event"] == "run_started")
    assert {number["name"] for number in start["shown_numbers"]} >= {"stdp/mean_change", "replay/fraction"}


def test_a_run_goes_on_on_another_device_and_says_that_its_bits_may_differ(tmp_path, capsys, monkeypatch):
    data = write_domains(tmp_path / "texts")
    assert train(data, tmp_path / "run", "--device", "cpu", "--max-steps", "2") == 0
    described = "mambrane.training.continue_run.describe_environment"
    elsewhere = {**describe_environment(torch.device("cpu")), "device": "another processor"}
    monkeypatch.setattr(described, lambda *_, **__: elsewhere)
    capsys.readouterr()
    assert train(data, tmp_path / "run", "--device", "auto", "--deterministic", "--max-steps", "4") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "device cpu -> another processor" in said
    assert "the last bits of the numbers may differ from here on" in said
    assert "--deterministic has no effect on a CPU" in said
    assert "resumed after step 2" in said


def test_what_the_machine_makes_nothing_of_is_said(monkeypatch):
    assert "not bit for bit" in " ".join(warnings_of_machine(RunConfig(), "cuda"))
    deterministic = RunConfig(run=RunOptions(deterministic=True))
    assert warnings_of_machine(deterministic, "cuda") == []
    assert warnings_of_machine(RunConfig(), "cpu") == []
    sharded = replace(RunConfig(), engine=replace(RunConfig().engine, shard=True))
    for device in ("cpu", "cuda"):
        assert "--shard has no effect in one process" in warnings_of_machine(sharded, device)[0]
    assert "weights in pieces" not in on_and_off(sharded, 1)[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert warnings_of_machine(sharded, "cpu") == []
    assert "weights in pieces" in on_and_off(sharded, 1)[0]
    only_a_gpu_has_it = RunConfig(engine=EngineConfig(precision="tf32"))
    assert "tf32 has no effect on a CPU" in " ".join(warnings_of_machine(only_a_gpu_has_it, "cpu"))


def matrix_of(run):
    return json.loads((run / "matrix.json").read_text())


def num_steps(run):
    return sum(event["event"] == "step" for event in read_events(run / "events.jsonl"))


def test_a_finished_run_learns_more_text_and_more_epochs_that_its_command_is_given(tmp_path):
    data, run = write_domains(tmp_path / "texts"), tmp_path / "run"
    assert train(data, run) == 0
    more = ("--num-tasks", "3", "--epochs", "3")
    assert train(data, run, *more) == 0
    assert matrix_of(run)["domains"] == ["domain0", "domain1", "domain2"]
    # As `mambrane learn` does: by the recipe of later tasks, with the epochs that the words have more.
    task = json.loads((run / "tasks.json").read_text())["tasks"][2]
    assert (task["num_epochs"], task["settings"]["plasticity.use_meta_plasticity"]) == (1, False)
    steps = num_steps(run)
    # The same arguments again, and the first ones, find nothing left.
    for words in (more, ()):
        assert train(data, run, *words) == 0
        assert num_steps(run) == steps
    assert train(data, run, "--epochs", "4") == 0
    assert matrix_of(run)["num_tasks"] == 5
    assert matrix_of(run)["task_columns"] == [[0], [1], [2], [0], [1]]
    assert train(data, run, "--epochs", "4") == 0
    assert matrix_of(run)["num_tasks"] == 5
    assert train(data, run, "--epochs", "1", "--num-tasks", "1") == 2


def test_a_lesson_that_more_training_finishes_and_takes_back_is_told_in_the_exit_code(tmp_path):
    data = write_domains(tmp_path / "texts")
    assert train(data, tmp_path / "run") == 0
    words = ("--min-gain", "5", "--epochs", "1", "--max-steps", "17")
    assert main(["learn", str(tmp_path / "run"), "--data", str(data / "domain2.txt"), *words]) == 0
    assert train(data, tmp_path / "run", "--epochs", "4") == 3
    num_tasks = [event["num_tasks"] for event in read_events(tmp_path / "run" / "events.jsonl") if "num_tasks" in event]
    assert num_tasks[-1] == 4, "two more epochs were learned behind it"
