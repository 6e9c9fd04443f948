"""What a run writes down of its text is read back; of a damaged file, what is whole in it and a sentence."""

import json

import pytest

from mambrane.data.domain_records import read_domain_records, write_domain_records

SPLIT = {"content_hash": "ab", "num_bytes": 10, "num_documents": 1}
RECORD = {"name": "letters", "content_hash": "cd", "train": SPLIT, "heldout": SPLIT}


def test_what_is_written_is_read_and_nothing_is_called_damaged(tmp_path):
    records = [RECORD, {**RECORD, "name": "notes", "data": ["notes/"]}]
    write_domain_records(tmp_path / "domains.json", records)
    assert read_domain_records(tmp_path / "domains.json") == (records, None)


@pytest.mark.parametrize("part", [None, [], 3, -1, "x", {}, True, 1e400], ids=repr)
@pytest.mark.parametrize("name", [*RECORD, "data"])
def test_a_record_with_a_part_replaced_is_left_out_and_said_or_means_the_same(tmp_path, name, part):
    file = tmp_path / "domains.json"
    file.write_text(json.dumps([RECORD, {**RECORD, name: part}]))
    records, damage = read_domain_records(file)
    if isinstance(RECORD.get(name, []), type(part)) and part != {}:
        assert len(records) == 2
        assert damage is None
    else:
        assert records == [RECORD]
        assert str(file) in damage
        assert "1 of 2 records" in damage


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"3", b'"x"', b"[]", b"[3]", b"\xff", b"[" * 100_000])
def test_any_other_content_gives_no_records_and_a_sentence(tmp_path, content):
    file = tmp_path / "domains.json"
    file.write_bytes(content)
    records, damage = read_domain_records(file)
    assert records == []
    assert f"{file} is damaged" in damage


@pytest.mark.parametrize("kind", ["gone", "a folder"])
def test_a_file_that_is_none_is_said(tmp_path, kind):
    file = tmp_path / "domains.json"
    if kind == "a folder":
        file.mkdir()
    records, damage = read_domain_records(file)
    assert records == []
    assert str(file) in damage
