"""A table is what the folders of the runs say, paired by seed, in every form."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.run.config import to_dict
from mambrane.studies import pages
from mambrane.studies.pictures import write_pictures
from mambrane.studies.results import read_table
from tests.studies.small import ARMS, small_study, write_all_runs, write_run


@pytest.fixture
def study():
    return small_study()


@pytest.fixture
def table(study, tmp_path):
    return read_table(study, write_all_runs(study, tmp_path), threads=1)


def by_name(table):
    return {arm.name: arm for arm in table.arms}


def test_means_differences_and_the_gap_are_those_worked_out_by_hand(table):
    arms = by_name(table)
    means = {name: arm.estimates["final_average"].mean for name, arm in arms.items()}
    assert means == pytest.approx({"naive": 4.1, "replay": 3.11, "joint": 2.1})
    assert arms["replay"].difference.mean == pytest.approx(-0.99)
    assert arms["naive"].difference is None
    assert arms["replay"].estimates["gap_closed"].mean == pytest.approx(0.495)
    assert arms["joint"].estimates["gap_closed"].mean == pytest.approx(1.0)
    assert arms["naive"].estimates["intransigence"].mean == pytest.approx(0.0)
    assert arms["joint"].estimates["forgetting"] is None


def test_p_values_are_corrected_for_the_arms_that_are_compared(table):
    arms = by_name(table)
    # The joint arm lies exactly 2 below naive with every seed: no spread, nothing to test.
    assert arms["joint"].difference.p_value is None
    assert arms["replay"].corrected_p == arms["replay"].difference.p_value
    assert table.num_comparisons == 1


def test_a_run_that_is_missing_takes_its_seed_out_of_the_pairs_and_is_said(study, tmp_path):
    cells = write_all_runs(study, tmp_path)
    (lost,) = (cell for cell in cells if cell.arm == "replay" and cell.seed == 1)
    (lost.folder / "matrix.json").unlink()
    table = read_table(study, cells, threads=1)
    assert by_name(table)["replay"].difference.num_pairs == 2
    assert "1 of 9 runs are not finished." in pages.notes(table)
    assert "[not finished](runs/replay/seed-1-order-1)" in pages.markdown(table, tmp_path)


def test_a_seed_counts_once_however_many_orders_there_are(tmp_path):
    arms = {name: ARMS[name] for name in ("naive", "replay")}
    study = small_study(arms=arms, orders=2)
    table = read_table(study, write_all_runs(study, tmp_path), threads=1)
    assert by_name(table)["replay"].difference.num_pairs == 3
    assert len(table.runs) == 12


def test_a_run_of_another_configuration_is_refused_and_named(study, tmp_path):
    cells = write_all_runs(study, tmp_path)
    config = replace(cells[0].config, engine=replace(cells[0].config.engine, learning_rate=0.5))
    (cells[0].folder / "config.json").write_text(json.dumps(to_dict(config)))
    with pytest.raises(UserError, match=r"engine\.learning_rate"):
        read_table(study, cells, threads=1)


def test_every_number_of_the_markdown_leads_to_its_run(table, tmp_path):
    links = re.findall(r"\]\(([^)]+)\)", pages.markdown(table, tmp_path))
    assert len(links) == len(table.arms) + len(table.runs)
    assert all((tmp_path / link).is_dir() for link in links)


def test_csv_json_and_latex_say_the_same(table, tmp_path):
    rows = list(csv.DictReader(io.StringIO(pages.arms_csv(table))))
    (replay,) = (row for row in rows if (row["arm"], row["metric"]) == ("replay", "final_average"))
    content = json.loads(pages.as_json(table, tmp_path))
    assert float(replay["mean"]) == content["arms"][1]["metrics"]["final_average"]["mean"]
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


def test_pictures_are_drawn_the_same_every_time(table, tmp_path):
    written = write_pictures(table, tmp_path)
    first = [path.read_bytes() for path in written]
    assert {path.suffix for path in written} == {".svg", ".pdf"}
    assert [path.read_bytes() for path in write_pictures(table, tmp_path)] == first


def test_a_metric_is_drawn_over_the_setting_that_differs(tmp_path):
    arms = {f"{size}": {"use-replay": True, "replay-buffer-size": size} for size in (4, 8, 64)}
    study = small_study(arms={"naive": {}, **arms}, axis="replay-buffer-size", seeds=1)
    for cell in study.cells(tmp_path):
        write_run(cell, [[8.0, 8.0], [2.0, 8.0], [3.0, 2.0]])
    table = read_table(study, study.cells(tmp_path), threads=1)
    names = {path.name for path in write_pictures(table, tmp_path)}
    assert "final_average-over-replay-buffer-size.svg" in names
