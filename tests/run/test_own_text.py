"""A run is measured and reported when its text is gone, and its folder may move."""

import shutil

import pytest

from mambrane.app.cli import main
from tests.contract.main_job import train_words, write_domains

SHORT = ("--num-tasks", "2", "--epochs", "2", "--max-steps", "3")


def train(data, output, *extra):
    return main(train_words(data, output, *SHORT, *extra)[2:])


@pytest.fixture
def gone(tmp_path, monkeypatch):
    """Trains a run, then takes its text and the cache away and moves its folder."""

    def build(*extra):
        monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
        data = write_domains(tmp_path / "texts")
        assert train(data, tmp_path / "run", *extra) == 0
        shutil.rmtree(data)
        monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "another-cache"))
        (tmp_path / "run").rename(tmp_path / "moved")
        return tmp_path / "moved"

    return build


def test_a_moved_run_without_its_text_evaluates_and_reports_without_a_word(gone, capsys):
    run = gone()
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    table = told.out.split("after 3 steps")[1].split("Held-out")[0]
    assert [table.count(f"domain{number} ") for number in range(3)] == [1, 1, 0]


def test_a_run_that_keeps_no_text_says_so_and_is_not_measured_without_it(gone, capsys):
    run = gone("--keep-heldout-bytes", "0")
    said = " ".join(capsys.readouterr().out.split())
    assert "no copy of the held-out text of domain0 (" in said
    assert "once that text is gone, later tasks are not measured on it" in said
    assert not list(run.glob("heldout/*"))
    assert main(["evaluate", str(run)]) == 2
    assert "in the cache, or kept in its folder" in " ".join(capsys.readouterr().err.split())


def test_a_split_above_the_bound_is_not_kept_and_one_below_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    with (data / "domain1.txt").open("a") as file:
        file.write("more words than the others\n" * 400)
    assert train(data, tmp_path / "run", "--keep-heldout-bytes", "400") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "no copy of the held-out text of domain1 (" in said
    assert "domain0" not in said.split("no copy of the held-out text of ")[1].split(" is kept")[0]
    assert len(list((tmp_path / "run" / "heldout").iterdir())) == 1


def test_turning_the_copies_off_removes_them_and_on_makes_them_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    data = write_domains(tmp_path / "texts")
    kept = []
    for limit in ("1000000", "0", "1000000"):
        assert train(data, tmp_path / "run", "--keep-heldout-bytes", limit) == 0
        kept.append(len(list((tmp_path / "run").glob("heldout/*.text"))))
    assert kept == [2, 0, 2]
