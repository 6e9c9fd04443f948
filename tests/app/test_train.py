"""`mambrane train` as a person sees it: what stands at the end, and what running it again does."""

import shutil

from mambrane.app.cli import main
from tests.conftest import SMALL_RUN


def test_a_finished_run_ends_with_samples_and_what_to_do_next(finished_run):
    folder, printed = finished_run
    end = printed.split("Training and held-out text at the end of each task")[1]
    assert "domain0" in end
    assert f"mambrane report {folder}" in end
    assert f"mambrane generate {folder} --prompt" in end


def test_the_name_of_a_domain_stands_at_the_end_as_it_is(tmp_path, capsys):
    text = tmp_path / "a [dim] :b:.txt"
    text.write_text("What is said three times is true. " * 100)
    words = ["--epochs", "1", "--num-tasks", "1", "--data", str(text), "--output-dir", str(tmp_path / "run")]
    assert main(["train", *SMALL_RUN.split(), *words]) == 0
    end = capsys.readouterr().out.split("Training and held-out text at the end of each task")[1]
    assert "1 a [dim] :b:" in end


def test_the_same_command_again_trains_nothing_and_shows_the_result(run_folder, tmp_path, capsys):
    texts = run_folder.parent / "texts"
    # Starting it again writes to its log.
    run_folder = shutil.copytree(run_folder, tmp_path / "run")
    words = ["--data", str(texts), "--output-dir", str(run_folder)]
    assert main(["train", *SMALL_RUN.split(), *words]) == 0
    printed = capsys.readouterr().out
    assert "resumed after step" in printed
    assert "training loss" not in printed
    assert f"mambrane report {run_folder}" in printed
