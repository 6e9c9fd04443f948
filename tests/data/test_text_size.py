"""How much text is there, read or not."""

import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet

from mambrane.data.corpus import cached_corpus
from tests.data.texts import config_for, lines, recording_log, source_at, write_files

NUM_ROWS = 3000
TEXT = [f"row {number} of some length\n" for number in range(NUM_ROWS)]


def record_of(path, cache, **changes):
    return cached_corpus(source_at(path), config_for(path, **changes), cache, recording_log()[0]).record


def write_rows(path):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.table({"text": TEXT}), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(TEXT).encode()))
    else:
        path.write_text("".join(json.dumps({"text": row}) + "\n" for row in TEXT))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.txt.gz"])
def test_of_a_file_read_to_its_end_it_is_the_text_that_it_gave(tmp_path, name):
    write_rows(tmp_path / name)
    record = record_of(tmp_path / name, tmp_path / "cache")
    assert record["bytes_there"] == record["bytes_read"] == sum(map(len, TEXT))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.txt.gz"])
def test_a_file_that_is_cut_holds_more_than_was_read(tmp_path, name):
    write_rows(tmp_path / name)
    record = record_of(tmp_path / name, tmp_path / "cache", max_domain_bytes=2_000)
    assert record["bytes_there"] > record["bytes_read"]


def test_well_compressed_text_that_is_cut_has_no_known_size(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(lines("again", 30_000).encode()))
    record = record_of(tmp_path / "a.txt.gz", tmp_path / "cache", max_domain_bytes=200_000)
    assert record["bytes_there"] is None


def test_files_that_were_not_opened_count_with_their_size(tmp_path):
    folder = write_files(tmp_path / "data", {f"d/{number}.txt": lines(f"file {number}", 300) for number in range(30)})
    record = record_of(folder, tmp_path / "cache", max_domain_bytes=20_000)
    assert record["bytes_read"] <= 20_000
    assert record["bytes_there"] == sum(path.stat().st_size for path in folder.rglob("*.txt"))


def test_rows_that_were_not_read_are_estimated_from_those_that_were(tmp_path):
    # A line of {"text": "..."} is longer than its text: sizes of files alone would promise too much.
    rows = [{"text": f"row {number}", "more": "x" * 200} for number in range(40)]
    for part in range(40):
        content = "".join(json.dumps({**row, "text": f"{part} {row['text']}"}) + "\n" for row in rows)
        write_files(tmp_path / "data", {f"d/{part}.jsonl": content})
    whole = record_of(tmp_path / "data", tmp_path / "cache")["bytes_there"]
    about = record_of(tmp_path / "data", tmp_path / "cache", max_domain_bytes=6_000)
    assert about["bytes_read"] < whole
    assert about["bytes_there"] == pytest.approx(whole, rel=0.1)


def test_a_file_that_repeats_another_is_there_and_not_read(tmp_path):
    folder = write_files(tmp_path / "data", {"d/a.txt": lines("a"), "d/b.txt": lines("a"), "d/c.txt": lines("c")})
    record = record_of(folder, tmp_path / "cache")
    assert record["bytes_there"] - record["bytes_read"] == len(lines("a"))
