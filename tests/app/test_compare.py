"""`mambrane compare`: runs side by side, on a terminal and for other programs."""

import csv
import io
import json

from mambrane.app.cli import main


def compared(capsys, run_folder, *words):
    assert main(["compare", str(run_folder), str(run_folder), *words]) == 0
    return capsys.readouterr().out


def test_every_format_names_both_runs_and_the_same_final_average(run_folder, capsys):
    shown = compared(capsys, run_folder)
    assert shown.count(run_folder.name) >= 2
    json.loads(compared(capsys, run_folder, "--format", "json"))
    rows = list(csv.reader(io.StringIO(compared(capsys, run_folder, "--format", "csv"))))
    average = next(row for row in rows if any("final average" in cell for cell in row))
    assert average[-1] == average[-2]
    assert f"{float(average[-1]):.3f}" in shown


def test_a_folder_that_is_no_run_is_refused(run_folder, tmp_path, capsys):
    assert main(["compare", str(run_folder), str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err
