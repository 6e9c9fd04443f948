"""A table is what the folders of the runs say, paired by seed, in every form."""

import json
from dataclasses import replace

import pytest

from mambrane.core.errors import UserError
from mambrane.settings.config import to_dict
from mambrane.studies import pages
from mambrane.studies.results import read_table
from tests.studies.small import ARMS, small_study, write_all_runs


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
