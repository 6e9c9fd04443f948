"""Pictures of a study."""

from mambrane.studies.pictures import write_pictures
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
