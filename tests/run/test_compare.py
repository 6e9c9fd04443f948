"""Runs side by side: what differs and nothing else, in every form the same numbers."""

import csv
import io
import json

import pytest

from mambrane import Run, compare
from mambrane.app.cli import main
from mambrane.core.errors import UserError


def test_settings_that_differ_metrics_and_cells_stand_side_by_side(hybrid_run, mamba_run):
    comparison = compare([hybrid_run, mamba_run])
    settings = {row.name: row.values for row in comparison.of_kind("setting")}
    assert settings["model.block_pattern"] == ("hybrid", "mamba")
    assert "model.hidden_dim" not in settings
    assert "run.output_dir" not in settings
    matrices = [Run.open(run).matrix for run in (hybrid_run, mamba_run)]
    cells = {row.name: row.values for row in comparison.of_kind("matrix")}
    assert cells["domain1 after 2 tasks"] == tuple(matrix.values[2][1] for matrix in matrices)
    assert cells["domain0 after no tasks"] == tuple(matrix.values[0][0] for matrix in matrices)
    metrics = {row.name: row.values for row in comparison.of_kind("metric")}
    (forgetting,) = (values for name, values in metrics.items() if name.startswith("forgetting"))
    assert forgetting == tuple(matrix.metrics()["forgetting"].value for matrix in matrices)


def test_every_form_holds_the_same_numbers(hybrid_run, mamba_run, capsys):
    comparison = compare([hybrid_run, mamba_run])
    runs = [str(hybrid_run), str(mamba_run)]
    printed = {}
    for form in ("terminal", "csv", "latex", "json", "markdown"):
        assert main(["compare", *runs, "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(printed["csv"])))
    assert rows[0] == ["kind", "name", *comparison.runs]
    assert [float(cell) for cell in rows[-1][2:]] == list(comparison.rows[-1].values)
    assert json.loads(printed["json"])["matrix"][comparison.rows[-1].name] == list(comparison.rows[-1].values)
    for form in ("terminal", "latex", "markdown"):
        for cell in comparison.rows[-1].cells:
            assert cell in printed[form], form
    assert r"model.block\_pattern" in printed["latex"]


def test_two_runs_of_one_name_are_told_apart_by_their_place(hybrid_run, mamba_run):
    assert compare([hybrid_run, mamba_run]).runs == (str(hybrid_run), str(mamba_run))


def test_one_run_or_none_is_refused(hybrid_run, tmp_path, capsys):
    with pytest.raises(UserError, match="two or more"):
        compare([hybrid_run])
    assert main(["compare", str(hybrid_run), str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "info"])
def test_the_matrix_is_shown_again(hybrid_run, capsys, command, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(hybrid_run.parent / "cache"))
    assert main([command, str(hybrid_run)]) == 0
    out = capsys.readouterr().out
    assert "forgetting matrix" in out
    assert all(f"{cell:.3f}" in out for cell in Run.open(hybrid_run).matrix.values[1])
