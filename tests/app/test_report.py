"""`mambrane report`: a page beside the run or where it is wanted, and its path as the answer."""

from mambrane.app.cli import main


def test_the_answer_is_where_the_page_is(run_folder, tmp_path, capsys):
    assert main(["report", str(run_folder), "--output", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_a_folder_that_is_not_there_is_refused_in_one_sentence(run_folder, tmp_path, capsys):
    assert main(["report", str(run_folder), "--output", str(tmp_path / "none" / "page.html")]) == 2
    assert "page.html" in capsys.readouterr().err
