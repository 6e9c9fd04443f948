"""The command line answers at once, refuses with the way out, and says when a flag does nothing."""

import subprocess
import sys

import pytest

from mambrane.app.cli import main


def test_understanding_the_words_imports_no_torch():
    code = "import sys, mambrane.app.cli as c; c.parse_train(['--preset', 'tiny']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_command_names_the_known_ones(capsys):
    assert main(["trian"]) == 2
    assert (
        "train, learn, evaluate, generate, score, compare, report, watch, serve, export, info, study, completion"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("command", ["evaluate", "generate", "score", "report", "export", "info"])
def test_a_folder_without_a_run_is_refused(command, tmp_path, capsys):
    assert main([command, str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_a_working_folder_that_was_deleted_is_told_before_torch_is_imported(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["info", "runs/first"]) == 2
    assert "the working folder cannot be used" in capsys.readouterr().err
    assert main(["--version"]) == 0
