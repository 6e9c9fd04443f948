"""Pages of a study: every number leads to its run, and every format says the same."""

import csv
import io
import json
import re

from mambrane.app.study import terminal_tables
from mambrane.studies import pages
from mambrane.studies.conduct import write_tables
from mambrane.studies.results import read_table
from tests.studies.small import small_study, write_run


def by_name(table):
    return {arm.name: arm for arm in table.arms}


def test_every_number_of_the_markdown_leads_to_its_run(table, tmp_path):
    links = re.findall(r"\]\(([^)]+)\)", pages.markdown(table, tmp_path))
    assert len(links) == len(table.arms) * len(pages.columns(table)) + len(table.runs)
    assert all((tmp_path / link).is_dir() for link in links)


def test_csv_json_and_latex_say_the_same(table, tmp_path):
    rows = list(csv.DictReader(io.StringIO(pages.arms_csv(table))))
    (replay,) = (row for row in rows if (row["arm"], row["metric"]) == ("replay", "final_average"))
    content = json.loads(pages.as_json(table, tmp_path))
    assert float(replay["mean"]) == content["arms"][1]["metrics"]["final_average"]["mean"]
    assert (tmp_path / replay["runs"]).is_dir()
    assert float(replay["difference"]) == content["arms"][1]["difference"]["mean"]
    assert len(content["runs"]) == 9
    assert [row["run"] for row in csv.DictReader(io.StringIO(pages.runs_csv(table, tmp_path)))] == [
        run["run"] for run in content["runs"]
    ]
    tabular = pages.latex(table, tmp_path)
    assert tabular.count(r" \\") == len(table.arms) + 1
    assert pages.estimate_text(by_name(table)["replay"].estimates["final_average"]) in tabular


def test_latex_is_not_broken_by_a_name(tmp_path):
    study = small_study(arms={"5 %": {}, "a_b": {"use-replay": True}}, baseline="5 %", seeds=1)
    table = read_table(study, study.cells(tmp_path), threads=1)
    assert r"5 \% &" in pages.latex(table, tmp_path)
    assert r"a\_b &" in pages.latex(table, tmp_path)


def test_what_a_table_does_not_show_is_said(table):
    words = " ".join(pages.notes(table))
    assert "3 seeds an interval is too narrow" in words
    assert "0 at naive, 1 at joint" in words


def test_a_metric_that_some_arms_lack_is_left_out_of_their_rows_in_every_form(tmp_path):
    (tmp_path / "outside.txt").write_text("a text that no task holds")
    arms = {"naive": {}, "with": {"use-replay": True, "reference-text": [str(tmp_path / "outside.txt")]}}
    study = small_study(arms=arms, seeds=1, metric="reference_drift")
    plain, measured = study.cells(tmp_path)
    rows = [[8.0, 8.0], [2.0, 8.0], [3.0, 2.0]]
    write_run(plain, rows)
    write_run(measured, rows, reference=[8.0, 4.0, 5.0])
    table = read_table(study, study.cells(tmp_path), threads=1)
    write_tables(table, tmp_path)
    first, second = csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text()))
    assert (first["reference_drift"], float(second["reference_drift"])) == ("", 1.0)
    assert f"[undefined]({plain.folder.relative_to(tmp_path)})" in (tmp_path / "table.md").read_text()
    assert "-" in [cell.plain for cell in terminal_tables(table)[0].columns[1].cells]
