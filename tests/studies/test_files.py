"""Study files: what is wrong in one is said, and the ready ones are right."""

import pytest

from mambrane.core.errors import UserError
from mambrane.studies.files import READY_FOLDER, find_study, read_study, ready_studies
from tests.data.idx import write_images

GOOD = """
name = "mine"
seeds = [0, 1]
baseline = "a"
[settings]
preset = "tiny"
[arms.a]
[arms.b]
use-replay = false
"""


def read(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return read_study(path)


def test_a_file_is_read_as_it_stands(tmp_path):
    study = read(tmp_path, GOOD)
    assert (study.name, study.seed_list, list(study.arms)) == ("mine", [0, 1], ["a", "b"])
    assert study.arms["b"] == {"use-replay": False}


@pytest.mark.parametrize(
    ("change", "found", "way"),
    [
        (("[arms.b]", "[arms.a]"), "twice", "second"),
        (('name = "mine"', ""), "no name", "name ="),
        (('baseline = "a"', ""), "no baseline", "baseline ="),
        (("seeds =", "seed ="), "seed is no name", "seeds"),
        (("[settings]", "[setting]"), "setting is no name", "[settings]"),
        (("seeds = [0, 1]", "seeds = [0, 1"), "line", "correct the file"),
        (("[settings]", "use-replay = true\n[settings]"), "use-replay is no name", "[settings]"),
        (('name = "mine"', "name = 3"), "name = 3", "name"),
        (("[arms.b]", "[arms]\nb = 3\n[arms.c]"), "arms.b = 3", "[arms.b]"),
        (("[0, 1]", '"many"'), "seeds = 'many'", "seeds"),
        (("[0, 1]", "[0, 1.5]"), "seeds = [0, 1.5]", "seeds = [0, 1, 2]"),
        (("[0, 1]", "true"), "seeds = True", "seeds"),
        (("baseline", 'orders = [["a"], "b"]\nbaseline'), "an order = 'b'", "orders ="),
    ],
)
def test_a_wrong_file_is_refused_with_the_way_out(tmp_path, change, found, way):
    with pytest.raises(UserError) as error:
        read(tmp_path, GOOD.replace(*change))
    assert found in error.value.found
    assert way in error.value.way_out


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.toml"):
        read_study(tmp_path / "x.toml")
    with pytest.raises(UserError, match="no ready study of that name") as error:
        find_study("method")
    assert error.value.way_out == "mambrane study methods"


@pytest.mark.parametrize("path", sorted(READY_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_a_ready_study_can_be_run_as_it_is(path, tmp_path, monkeypatch):
    study = find_study(path.stem)
    monkeypatch.chdir(tmp_path)
    for name in ("mnist", "fashion"):
        write_images(tmp_path / name, num_classes=10, per_class=1)
    (tmp_path / "reference.txt").write_text("a text of one's own")
    if study.settings.get("data") == "digits":
        pytest.importorskip("sklearn.datasets", exc_type=ImportError)
    assert study.name == path.stem
    assert study.title
    assert 0 < study.expected_minutes <= 6 * 60
    assert study.cells(tmp_path)
    assert study.warnings() == []


def test_the_studies_behind_the_claims_take_less_than_six_hours_together():
    claims = ("five-domains", "five-domains-controls", "memory-share", "split-mnist-domain", "whole-length")
    assert sum(find_study(name).expected_minutes for name in claims) <= 6 * 60


def test_there_are_a_dozen_ready_studies():
    assert len(ready_studies()) >= 12
