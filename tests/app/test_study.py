"""The command study."""

import json

from mambrane.app.cli import main
from mambrane.studies.files import read_study
from tests.studies.small import SETTINGS, write_run

STUDY = """
name = "one"
baseline = "naive"
[settings]
{settings}
[arms.naive]
replay-fraction = 0.25
"""


def test_the_command_lists_the_ready_studies_and_asks_for_one(capsys):
    assert main(["study", "--list"]) == 0
    assert "memory-share" in capsys.readouterr().out
    assert main(["study"]) == 2
    assert main(["study", "no-such"]) == 2
    assert "mambrane study --list" in capsys.readouterr().err


def test_a_dry_run_tells_the_warnings(tmp_path, capsys):
    settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items())
    file, folder = tmp_path / "one.toml", tmp_path / "out"
    file.write_text(STUDY.format(settings=settings))
    write_run(read_study(file).cells(folder)[0], [[8.0, 8.0], [2.0, 8.0], [3.0, 2.0]])
    assert main(["study", str(file), "--output-dir", str(folder), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "--replay-fraction 0.25 has no effect without --use-replay" in " ".join(told.err.split())
    assert "all 1 runs are finished" in told.out
    assert "all 1 runs are finished" not in told.err
