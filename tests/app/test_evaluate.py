"""`mambrane evaluate`: the measure of every domain, of the run's own text or of another."""

import pytest

from mambrane.app.cli import main
from mambrane.continual.matrix_file import load_matrix


def test_every_domain_stands_with_the_last_row_of_the_matrix(run_folder, capsys):
    assert main(["evaluate", str(run_folder)]) == 0
    table = capsys.readouterr().out.split("Held-out")[0]
    matrix = load_matrix(run_folder / "matrix.json")
    for name, bits in zip(matrix.domains, matrix.values[-1], strict=True):
        assert f"{bits:.3f}" in next(line for line in table.splitlines() if name in line)


def test_other_text_is_measured_in_place_of_the_runs_own(run_folder, capsys, tmp_path):
    (tmp_path / "other.txt").write_text("abc def ghi jkl\n" * 200)
    assert main(["evaluate", str(run_folder), "--data", str(tmp_path / "other.txt")]) == 0
    table = capsys.readouterr().out.split("forgetting matrix")[0].split("Held-out bits")[0]
    assert " other " in table
    assert "domain0" not in table


def test_an_average_that_the_run_does_not_have_is_refused(run_folder, capsys):
    assert main(["evaluate", str(run_folder), "--weights", "ema"]) == 2
    assert "ema" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(run_folder, capsys, device):
    assert main(["evaluate", str(run_folder), "--device", device]) == 2
    assert device in capsys.readouterr().err
