"""`mambrane export`: the answer is where the model is."""

from mambrane.app.cli import main


def test_a_folder_is_written_and_named(run_folder, tmp_path, capsys):
    assert main(["export", str(run_folder), "--output-dir", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "config.json").exists()


def test_the_hub_without_a_name_is_refused(run_folder, capsys):
    assert main(["export", str(run_folder), "--to", "hub"]) == 2
    assert "hub-name" in capsys.readouterr().err
