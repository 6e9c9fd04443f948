"""Pictures of a study."""

from mambrane.studies.pictures import axis_points, series_of, write_pictures
from mambrane.studies.results import read_table
from tests.studies.small import small_study, write_run


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


def test_a_series_parts_the_arms_into_lines(tmp_path):
    arms = {
        f"{share:g} {source}": {"use-replay": True, "replay-share": share, "replay-source": source}
        for source in ("memory", "generated")
        for share in (0.01, 0.05)
    }
    study = small_study(arms={"naive": {}, **arms}, axis="replay-share", series="replay-source", seeds=1)
    for cell in study.cells(tmp_path):
        write_run(cell, [[8.0, 8.0], [2.0, 8.0], [3.0, 2.0]])
    table = read_table(study, study.cells(tmp_path), threads=1)
    lines = series_of(table, axis_points(table, "final_average"))
    assert {value: [x for x, _ in points] for value, points in lines.items()} == {
        "memory": [0.01, 0.05],
        "generated": [0.01, 0.05],
    }
    write_pictures(table, tmp_path)
    drawn = (tmp_path / "final_average-over-replay-share.svg").read_text()
    assert "replay source" in drawn
    assert "generated" in drawn


def test_no_picture_is_drawn_twice_where_the_closed_gap_is_what_is_tested(tmp_path):
    arms = {f"{size}": {"use-replay": True, "replay-buffer-size": size} for size in (4, 8)}
    arms = {"naive": {}, "joint": {"continual-learning": False}, **arms}
    study = small_study(arms=arms, axis="replay-buffer-size", metric="gap_closed", joint="joint", seeds=1)
    for cell in study.cells(tmp_path):
        last = [2.0, 2.0] if cell.arm == "joint" else [3.0 + (cell.arm == "naive"), 2.0]
        write_run(cell, [[8.0, 8.0], last] if cell.arm == "joint" else [[8.0, 8.0], [2.0, 8.0], last])
    written = write_pictures(read_table(study, study.cells(tmp_path), threads=1), tmp_path)
    assert tmp_path / "gap_closed-over-replay-buffer-size.svg" in written
    assert len(set(written)) == len(written)
