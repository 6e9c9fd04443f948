"""Kept results of studies give the table that the runs gave."""

import pytest

from benchmarks import study_runs
from mambrane.continual.measure import BITS_PER_BYTE
from mambrane.studies.pictures import axis_points
from mambrane.tasks.vision import ACCURACY

OTHER = dict.fromkeys(study_runs.COLUMNS, "")


def row(arm, seed, order, value, **more):
    return (
        OTHER | {"arm": arm, "seed": str(seed), "order": str(order), "final_average": str(value), "seconds": "9"} | more
    )


ROWS = [
    *(row("naive", seed, order, 3.0 + seed + order / 10) for seed in (0, 1, 2) for order in (1, 2)),
    *(row("replay", seed, order, 2.5 + seed + order / 10) for seed in (0, 1) for order in (1, 2)),
    row("replay", 2, 1, 9.0),
]


def test_a_mean_is_over_seeds_with_every_order_and_a_difference_over_seeds_of_both():
    printed = study_runs.table(ROWS, "naive", BITS_PER_BYTE).splitlines()
    # (3.15 + 4.15 + 5.15) / 3 and (2.65 + 3.65) / 2; the third seed of replay lacks an order.
    assert printed[2].startswith("| naive | 3 | 4.150 ")
    assert printed[3].startswith("| replay | 2 | 3.150 ")
    assert "-0.500" in printed[3]
    assert printed[-1].startswith("11 runs.")


def bounds_of(run, rows, measure):
    return study_runs.against_bounds(run, {(row["arm"], row["seed"], row["order"]): row for row in rows}, measure)


def test_the_gap_lies_between_the_runs_of_the_same_seed_and_order():
    rows = [row("naive", 0, 1, 3.0), row("joint", 0, 1, 2.0), row("replay", 0, 1, 2.25, learned_average="2.5")]
    assert bounds_of(rows[2], rows, BITS_PER_BYTE) == {"gap_closed": "0.75", "intransigence": "0.5"}
    accuracies = [row("naive", 0, 1, 0.5), row("joint", 0, 1, 1.0), row("replay", 0, 1, 0.75, learned_average="0.75")]
    assert bounds_of(accuracies[2], accuracies, ACCURACY) == {"gap_closed": "0.5", "intransigence": "0.25"}
    assert set(bounds_of(row("replay", 1, 1, 2.25), rows, BITS_PER_BYTE).values()) == {""}


def test_bits_per_byte_are_taken_for_such_where_joint_ends_worse_than_naive():
    rows = [row("naive", 0, 1, 2.0), row("joint", 0, 1, 2.5), row("replay", 0, 1, 2.25, learned_average="2.75")]
    found = bounds_of(rows[2], rows, BITS_PER_BYTE)
    assert found == {"gap_closed": "", "intransigence": "0.25"}, "joint learned more, and there is no gap to close"


@pytest.mark.parametrize(
    ("study", "words", "intransigence"),
    [
        ("split-digits-class", [], "0.500"),
        ("five-domains", [], "-0.500"),
        ("no-ready-study", [], "-0.500"),
        ("no-ready-study", ["--accuracy"], "0.500"),
    ],
)
def test_the_task_of_a_ready_study_says_what_its_runs_measure_and_a_flag_that_of_another(
    study, words, intransigence, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(study_runs, "FOLDER", tmp_path)
    rows = [row("naive", 0, 1, 0.5, learned_average="0.5"), row("joint", 0, 1, 1.0)]
    study_runs.write_rows(tmp_path / f"{study}.csv", rows)
    study_runs.main([study, *words])
    assert f" {intransigence} |" in next(line for line in capsys.readouterr().out.splitlines() if "| naive | 1" in line)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["five-domain"], "no runs of a study 'five-domain' are kept; there are "),
        (["five-domains", "--accuracy"], "the ready study five-domains says itself"),
        (["five-domains", "--add", "nowhere"], "--add nowhere: no runs.csv lies there"),
    ],
)
def test_words_that_say_nothing_are_refused(words, answer, capsys):
    with pytest.raises(SystemExit):
        study_runs.main(words)
    assert answer in capsys.readouterr().err


def test_the_pictures_of_a_ready_study_are_drawn_from_the_runs_that_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study_runs, "FOLDER", tmp_path)
    bounds = [row("naive", 0, 1, 3.0), row("joint", 0, 1, 2.0)]
    shares = [row("2 % stored", 0, 1, 2.75), row("5 % stored", 0, 1, 2.5), row("10 % stored", 0, 1, 2.25)]
    study_runs.write_rows(tmp_path / "memory-share.csv", [*bounds, *shares])
    study_runs.main(["memory-share", "--pictures", str(tmp_path / "pictures")])
    drawn = tmp_path / "pictures" / "gap_closed-over-replay-share.svg"
    assert str(drawn) in capsys.readouterr().out.splitlines()
    study = study_runs.read_study(study_runs.READY_FOLDER / "memory-share.toml")
    means = study_runs.for_pictures([*bounds, *shares], study, BITS_PER_BYTE)
    assert [(share, arm.estimates["gap_closed"].mean) for share, arm in axis_points(means, "gap_closed")] == [
        (0.02, 0.25),
        (0.05, 0.5),
        (0.1, 0.75),
    ]
    study_runs.write_rows(tmp_path / "mine.csv", bounds)
    with pytest.raises(SystemExit):
        study_runs.main(["mine", "--pictures", str(tmp_path)])
    assert "--pictures: mine is no ready study" in capsys.readouterr().err


def test_runs_are_taken_in_once_and_another_result_for_the_same_run_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study_runs, "FOLDER", tmp_path)
    (tmp_path / "study").mkdir()
    study_runs.write_rows(tmp_path / "study" / "runs.csv", [*ROWS, row("late", 0, 1, "", seconds="")])
    for _ in range(2):
        study_runs.main(["kept", "--add", str(tmp_path / "study")])
    assert study_runs.read_rows(tmp_path / "kept.csv") == ROWS
    study_runs.write_rows(tmp_path / "study" / "runs.csv", [row("naive", 0, 1, 3.2)])
    with pytest.raises(SystemExit, match=r"naive 0 1: 3\.2 now, 3\.1 is kept"):
        study_runs.main(["kept", "--add", str(tmp_path / "study")])
    with pytest.raises(SystemExit, match="no runs of 'joint'"):
        study_runs.main(["kept", "--against", "joint"])
    assert "| replay | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(study_runs.FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_every_kept_study_prints(path, capsys):
    study_runs.main([path.stem])
    assert "| arm | seeds |" in capsys.readouterr().out
